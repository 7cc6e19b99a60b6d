//! TensorBoard's event files: scalars and images.
//!
//! Written by hand because the crates for it are heavier than the format: tensorboard-rs 0.5.9
//! brings 34 crates, among them protobuf 2 and image 0.23; tboard 0.1.1 needs the protobuf compiler
//! installed. The format:
//! - framing: <https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>
//! - messages: `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto`
//! - wire types: <https://protobuf.dev/programming-guides/encoding/>

use super::images::Picture;
use crate::error::{Error, Result};
use crate::files::Appender;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An event file that is being written. Each event is in the file when its call returns.
pub struct EventWriter {
    file: Appender,
}

impl EventWriter {
    /// Starts a new event file in `folder`, which is created if missing. TensorBoard joins the
    /// event files of a folder. `finished` is the number of finished steps of a resumed run:
    /// TensorBoard drops events of later steps in earlier files.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the file.
    pub fn create(folder: &Path, finished: u64) -> Result<EventWriter> {
        let now = since_epoch();
        // TensorBoard looks for "tfevents" in the names, and reads the files in the order of their
        // names. The process number distinguishes two runs.
        let name =
            format!("events.out.tfevents.{:010}.{:09}.{}", now.as_secs(), now.subsec_nanos(), std::process::id());
        let mut writer = EventWriter { file: Appender::open(&folder.join(name))? };
        writer.append(0, |event| bytes_field(event, 3, b"brain.Event:2"))?;
        if finished > 0 {
            // SessionLog { status: START } makes TensorBoard drop events from this step on.
            let mut session = vec![];
            varint_field(&mut session, 1, 1);
            writer.append(finished + 1, |event| bytes_field(event, 7, &session))?;
        }
        Ok(writer)
    }

    /// Whether a folder holds event files.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the folder.
    pub fn exist_in(folder: &Path) -> Result<bool> {
        let names = std::fs::read_dir(folder).map_err(Error::io(folder))?;
        let mut is_one = names.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().contains("tfevents")));
        Ok(is_one.any(|is_one| is_one))
    }

    /// Adds a number at a training step. Tags with a slash, such as `loss/train`, share a group.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the file.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, tag.as_bytes());
        summary.push(key(2, FIXED32));
        summary.extend(value.to_le_bytes());
        self.summary(step, &summary)
    }

    /// Adds a picture at a training step.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the file.
    pub fn image(&mut self, step: u64, tag: &str, picture: &Picture) -> Result<()> {
        let mut image = Vec::new();
        for (field, value) in [(1, picture.height), (2, picture.width), (3, picture.channels)] {
            varint_field(&mut image, field, value as u64);
        }
        bytes_field(&mut image, 4, &picture.to_png(&[]));
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, tag.as_bytes());
        bytes_field(&mut summary, 4, &image);
        self.summary(step, &summary)
    }

    /// Path of the event file.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    fn summary(&mut self, step: u64, value: &[u8]) -> Result<()> {
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, value);
        self.append(step, |event| bytes_field(event, 5, &summary))
    }

    /// One record: length, its checksum, the event, its checksum.
    fn append(&mut self, step: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut event = vec![key(1, FIXED64)];
        event.extend(since_epoch().as_secs_f64().to_le_bytes());
        varint_field(&mut event, 2, step);
        fill(&mut event);
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc32c(&length).to_le_bytes());
        record.extend(&event);
        record.extend(masked_crc32c(&event).to_le_bytes());
        self.file.append(&record)
    }
}

fn since_epoch() -> Duration {
    // A clock before 1970 only causes a wrong time in a plot.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn varint_field(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(key(field, VARINT));
    varint(message, value);
}

fn bytes_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(key(field, LENGTH_DELIMITED));
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// CRC-32C (Castagnoli), bit by bit, which is fast enough for a few kilobytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))))
}

/// The checksum as records store it: rotated and shifted, because checksums of data that contains
/// checksums are weak.
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
