//! Small files that lie in the place of a file that was not downloaded.

/// What a file is, if it is not the file that its name promises.
pub(super) fn not_the_file(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    if bytes.starts_with(b"version https://git-lfs") {
        return Some(
            "is a pointer of Git LFS, not the file itself: run `git lfs pull` in the repository, or download the file",
        );
    }
    let page = [&b"<!DOCTYPE"[..], b"<!doctype", b"<html", b"<HTML"].iter().any(|start| text.starts_with(start));
    page.then_some("is a web page, not the file itself: download it again, from the address of the file")
}
