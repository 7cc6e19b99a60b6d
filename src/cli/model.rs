//! The options that name the model of a program, and the model that is used if none is named.

use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::output::{counted, note};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Folder of the model that is used without `--checkpoint`, relative to the current folder: a
/// checkpoint folder.
pub const DEFAULT_MODEL: &str = "models/mnist-tiny";

/// The options that name the model.
#[derive(Args)]
pub struct ModelOptions {
    #[arg(
        long,
        required = !Path::new(DEFAULT_MODEL).is_dir(),
        help = format!(
            "Run folder, checkpoint folder, or diffusers folder [default: {DEFAULT_MODEL}, if the current folder has it]"
        )
    )]
    checkpoint: Option<PathBuf>,
    /// The class that means "no label", for guidance of a model that was not written by degrain
    #[arg(long, value_name = "CLASS")]
    null_class: Option<u32>,
}

impl ModelOptions {
    /// The folder that the user named, or the default.
    pub fn path(&self) -> &Path {
        self.checkpoint.as_deref().unwrap_or(Path::new(DEFAULT_MODEL))
    }

    /// Opens the model. Prints which one it is if the user named none, and its warnings.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::with_null_class`].
    pub fn open(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::open(self.path())?;
        if self.checkpoint.is_none() {
            note(format_args!("no --checkpoint: using {DEFAULT_MODEL}, {}", origin(&checkpoint)));
        }
        let checkpoint = checkpoint.with_null_class(self.null_class)?;
        checkpoint.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        Ok(checkpoint)
    }
}

/// How a model was trained, for a message.
fn origin(checkpoint: &Checkpoint) -> String {
    let metadata = &checkpoint.metadata;
    if !checkpoint.has_metadata {
        return "not trained by degrain".into();
    }
    let steps = counted(metadata.step, "step");
    let data = if metadata.dataset.is_empty() { "unknown data" } else { &metadata.dataset };
    format!("trained by degrain for {steps} on {data}")
}

/// Parses the command line of a program with [`ModelOptions`]. Prints the help or a message and
/// ends the process as [`Parser::parse_from`] does. The message for a command line without a model
/// says how to get one.
pub fn parse<P: Parser>(command_line: impl IntoIterator<Item = OsString>) -> P {
    P::try_parse_from(command_line).unwrap_or_else(|mut error| {
        if lacks_model(&error) {
            let tip = format!(
                "`make train` trains a model on MNIST and prints its folder. Without --checkpoint, the model in \
                 {DEFAULT_MODEL} is used, and the current folder has no such folder"
            );
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    })
}

fn lacks_model(error: &clap::Error) -> bool {
    let lacking = error.get(ContextKind::InvalidArg);
    error.kind() == ErrorKind::MissingRequiredArgument
        && matches!(lacking, Some(ContextValue::Strings(names)) if names.iter().any(|n| n.starts_with("--checkpoint")))
}
