//! The command line. This test also makes `cargo test --workspace` build the program.

use std::process::Command;

#[test]
fn usage_is_printed_for_a_wrong_command_line() {
    for arguments in [&[][..], &["nothing"], &["shaders"], &["reliability"], &["experiment"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains("usage: cargo xtask"), "{arguments:?}: {errors}");
    }
}
