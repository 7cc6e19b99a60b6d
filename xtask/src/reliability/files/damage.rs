//! Damage to the bytes of a file: in the file itself, or in the content below its compression,
//! checksums or lengths, so that the damage gets past them.

use crate::reliability::runs::Random;
use flate2::Crc;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Numbers that programs get wrong, as text.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "2",
    "-1",
    "255",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "1e309",
    "NaN",
    "0.5",
];
/// Values of other types, as text.
const VALUES: [&str; 10] = ["null", "true", "false", "\"\"", "[]", "{}", "[1]", "{\"a\":1}", "Infinity", "1e-400"];
/// The same numbers in headers.
const INTEGERS: [u64; 12] = [
    0,
    1,
    2,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Damages a file in one to four places.
pub fn damage(name: &str, bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let changes = 1 + random.below(4);
    let inside = random.below(2) == 0;
    let content = |bytes: &mut Vec<u8>, random: &mut Random| (0..changes).for_each(|_| change(bytes, random));
    let inner = match name.rsplit('.').next() {
        _ if !inside => None,
        Some("gz") => in_gzip(bytes, random, content),
        Some("npz") => in_zip(bytes, random, content),
        Some("png") => in_png(bytes, random, content),
        Some("safetensors") => in_safetensors(bytes, random, content),
        _ => None,
    };
    inner.unwrap_or_else(|| {
        let mut bytes = bytes.to_vec();
        content(&mut bytes, random);
        bytes
    })
}

/// One change at a random place.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    let at = random.below(length.max(1));
    let size = (1 + random.below(64)).min(length.saturating_sub(at));
    match random.below(14) {
        0 if length > 0 => bytes[at] ^= 1 << random.below(8),
        1 if length > 0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', b','][random.below(8)],
        2 => bytes.truncate(at),
        3 => {
            let inserted: Vec<u8> = (0..=random.below(64)).map(|_| random.below(256) as u8).collect();
            bytes.splice(at..at, inserted);
        }
        4 => {
            let block = bytes[at..at + size].to_vec();
            let copies = [1, 2, 100][random.below(3)];
            bytes.splice(at..at, block.repeat(copies));
        }
        5 => drop(bytes.drain(at..at + size)),
        6..=8 => replace_number(bytes, NUMBERS[random.below(NUMBERS.len())], random),
        9 => integer(bytes, INTEGERS[random.below(INTEGERS.len())], random),
        10 => {
            let depth = [3, 100, 200, 20_000][random.below(4)];
            let text = [&b"["[..], b"{\"a\":", b"[[a.", b"(", b"{a={"][random.below(5)].repeat(depth);
            bytes.splice(at..at, text);
        }
        11 => replace_value(bytes, VALUES[random.below(VALUES.len())], random),
        12 => {
            let block = bytes[at..at + size].to_vec();
            let to = random.below((length - size).max(1));
            bytes[to..to + size].copy_from_slice(&block);
        }
        _ => bytes.extend(vec![[0, 0xff, b' ', b'a'][random.below(4)]; 1 + random.below(300)]),
    }
}

/// Replaces a number in a text.
fn replace_number(bytes: &mut Vec<u8>, number: &str, random: &mut Random) {
    let part = |byte: &u8| byte.is_ascii_digit() || b".-+".contains(byte);
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&i| {
            bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric() && !part(&bytes[i - 1]))
        })
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[random.below(starts.len())];
    let end = start + bytes[start..].iter().take_while(|byte| part(byte)).count();
    bytes.splice(start..end, number.bytes());
}

/// Replaces the value after a `:` or `=` in a text.
fn replace_value(bytes: &mut Vec<u8>, value: &str, random: &mut Random) {
    let starts: Vec<usize> = (0..bytes.len()).filter(|&i| b":=".contains(&bytes[i])).collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[random.below(starts.len())] + 1;
    let end = start + bytes[start..].iter().take_while(|byte| !b",}\n".contains(byte)).count();
    bytes.splice(start..end, value.bytes());
}

/// Overwrites two, four or eight bytes with an integer, mostly near the start.
fn integer(bytes: &mut [u8], number: u64, random: &mut Random) {
    let size = [2, 4, 8][random.below(3)];
    let range = if random.below(2) == 0 { bytes.len().min(64) } else { bytes.len() };
    if range < size {
        return;
    }
    let at = random.below(range - size + 1);
    let little = number.to_le_bytes();
    let big: Vec<u8> = little[..size].iter().rev().copied().collect();
    bytes[at..at + size].copy_from_slice(if random.below(2) == 0 { &little[..size] } else { &big });
}

fn in_gzip(bytes: &[u8], random: &mut Random, change: impl Fn(&mut Vec<u8>, &mut Random)) -> Option<Vec<u8>> {
    let mut content = vec![];
    GzDecoder::new(bytes).read_to_end(&mut content).ok()?;
    change(&mut content, random);
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(&content).ok()?;
    encoder.finish().ok()
}

/// Damages one entry of an archive.
fn in_zip(bytes: &[u8], random: &mut Random, change: impl Fn(&mut Vec<u8>, &mut Random)) -> Option<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let damaged = random.below(archive.len());
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).ok()?;
        let mut content = vec![];
        entry.read_to_end(&mut content).ok()?;
        if index == damaged {
            change(&mut content, random);
        }
        let method = if random.below(2) == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        writer.start_file(name, SimpleFileOptions::default().compression_method(method)).ok()?;
        writer.write_all(&content).ok()?;
    }
    Some(writer.finish().ok()?.into_inner())
}

/// Damages one chunk of a PNG file, and gives it the checksum and the length of the new content.
fn in_png(bytes: &[u8], random: &mut Random, change: impl Fn(&mut Vec<u8>, &mut Random)) -> Option<Vec<u8>> {
    let mut chunks = vec![];
    let mut at = 8;
    while at + 12 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?) as usize;
        chunks.push((bytes.get(at + 4..at + 8)?.to_vec(), bytes.get(at + 8..at + 8 + length)?.to_vec()));
        at += 12 + length;
    }
    let damaged = random.below(chunks.len().max(1));
    change(&mut chunks.get_mut(damaged)?.1, random);
    let mut out = bytes[..8].to_vec();
    for (kind, content) in chunks {
        let mut crc = Crc::new();
        crc.update(&kind);
        crc.update(&content);
        out.extend((content.len() as u32).to_be_bytes());
        out.extend(kind);
        out.extend(content);
        out.extend(crc.sum().to_be_bytes());
    }
    Some(out)
}

/// Damages the header of a safetensors file, and gives it its new length.
fn in_safetensors(bytes: &[u8], random: &mut Random, change: impl Fn(&mut Vec<u8>, &mut Random)) -> Option<Vec<u8>> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?) as usize;
    let mut header = bytes.get(8..8 + length)?.to_vec();
    change(&mut header, random);
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(&bytes[8 + length..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use degrain::output::Picture;

    #[test]
    fn damage_depends_on_the_case_only() {
        let of = |case| damage("log.jsonl", b"{\"step\":1,\"loss\":0.5}\n", &mut Random::of_case(5, case));
        assert_eq!((0..50).map(of).collect::<Vec<_>>(), (0..50).map(of).collect::<Vec<_>>());
        assert!((0..50).any(|case| of(case) != of(case + 1)));
    }

    #[test]
    fn damage_gets_past_checksums_and_lengths() {
        let file = Picture { height: 4, width: 4, channels: 1, bytes: vec![7; 16] }.to_png(&[]);
        let mut random = Random::of_case(1, 1);
        let wide = in_png(&file, &mut random, |chunk, _| *chunk = [chunk, &b"x"[..]].concat()).unwrap();
        assert_eq!(wide.len(), file.len() + 1);
        let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(b"abc").unwrap();
        let gzip = in_gzip(&encoder.finish().unwrap(), &mut random, |content, _| content.push(b'd')).unwrap();
        let mut content = String::new();
        GzDecoder::new(&gzip[..]).read_to_string(&mut content).unwrap();
        assert_eq!(content, "abcd");
        let tensors = [&12u64.to_le_bytes()[..], b"{\"a\":\"12345\"", b"data"].concat();
        let longer = in_safetensors(&tensors, &mut random, |header, _| header.push(b'}')).unwrap();
        assert_eq!(longer, [&13u64.to_le_bytes()[..], b"{\"a\":\"12345\"}", b"data"].concat());
    }

    #[test]
    fn numbers_and_values_are_replaced() {
        let mut text = b"{\"a1\": 12.5}".to_vec();
        replace_number(&mut text, "NaN", &mut Random::of_case(1, 2));
        assert_eq!(text, b"{\"a1\": NaN}");
        replace_value(&mut text, "[]", &mut Random::of_case(1, 2));
        assert_eq!(text, b"{\"a1\":[]}");
    }
}
