//! Files that the crate writes, read back: pixels, text, frame times, headers and checksums.

use degrain::data::{Split, load};
use degrain::files::{Appender, DiskFault, inject, write_atomically};
use degrain::output::images::to_bytes;
use degrain::output::tensorboard::{crc32c, masked_crc32c};
use degrain::output::{EventWriter, Images, JsonLines, Layout, Picture, Plot};
use degrain::output::{apng::save_apng, grid::grid, npz::save_npz, plot::smooth, strip::strip};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn decoder(path: &Path) -> png::Reader<BufReader<File>> {
    png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap()
}

fn pixel(picture: &Picture, y: usize, x: usize) -> &[u8] {
    &picture.bytes[(y * picture.width + x) * picture.channels..][..picture.channels]
}

#[test]
fn to_bytes_rounds_like_diffusers() {
    // numpy: ((x / 2 + 0.5).clip(0, 1) * 255).round(); 127.5 goes to the even 128.
    assert_eq!(to_bytes(&[-1.0, 1.0, 0.0, -3.0, 7.0, 1.0 / 255.0, -1.0 + 1.0 / 255.0]), [0, 255, 128, 0, 255, 128, 0]);
    assert_eq!(to_bytes(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]), [0, 255, 0]);
    // Every byte is the same after the conversion to [-1, 1] and back.
    let all: Vec<f32> = (0..=255).map(|byte| byte as f32 / 127.5 - 1.0).collect();
    assert_eq!(to_bytes(&all), (0..=255).collect::<Vec<u8>>());
}

#[test]
fn grid_places_every_pixel() {
    // Five gray images of 2 x 3; byte = 10 image + position.
    let bytes: Vec<u8> = (0..5).flat_map(|image| (0..6).map(move |position| 10 * image + position)).collect();
    let layout = Layout { columns: 2, padding: 1, scale: 2, background: 99 };
    let picture = grid(&Images::new(&bytes, [5, 1, 2, 3]), layout);
    assert_eq!((picture.height, picture.width, picture.channels), (3 * 5 + 1, 2 * 7 + 1, 1));
    for (y, x) in (0..16).flat_map(|y| (0..15).map(move |x| (y, x))) {
        let expected = match (y % 5, x % 7, y / 5 * 2 + x / 7) {
            (0, ..) | (_, 0, _) | (.., 5..) => 99,
            (y, x, image) => 10 * image + (y - 1) / 2 * 3 + (x - 1) / 2,
        };
        assert_eq!(pixel(&picture, y, x), [expected as u8], "row {y} column {x}");
    }
    // With fewer images than columns there are no empty columns.
    let narrow = grid(&Images::new(&bytes[..6], [1, 1, 2, 3]), Layout { padding: 0, ..Layout::default() });
    assert_eq!((narrow.height, narrow.width, narrow.bytes), (2, 3, bytes[..6].to_vec()));
}

#[test]
fn grid_interleaves_color_planes() {
    // Two images of 1 x 2: red plane, green plane, blue plane.
    let images = Images::new(vec![1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16], [2, 3, 1, 2]);
    let picture = grid(&images, Layout { columns: 1, padding: 0, scale: 1, background: 0 });
    assert_eq!((picture.height, picture.width, picture.channels), (2, 2, 3));
    assert_eq!(picture.bytes, [1, 3, 5, 2, 4, 6, 11, 13, 15, 12, 14, 16]);
}

#[test]
fn strip_has_a_row_per_image_and_a_column_per_step() {
    let steps: Vec<Images> = (0..3).map(|step| Images::new(vec![step, 10 + step], [2, 1, 1, 1])).collect();
    let picture = strip(&steps, Layout { padding: 0, ..Layout::default() });
    assert_eq!((picture.height, picture.width), (2, 3));
    assert_eq!(picture.bytes, [0, 1, 2, 10, 11, 12]);
}

#[test]
fn png_keeps_pixels_mode_and_text() {
    let folder = TempDir::new().unwrap();
    for channels in [1, 3] {
        let path = folder.path().join(format!("{channels}.png"));
        let bytes: Vec<u8> = (0..(4 * 5 * channels) as u8).collect();
        let picture = Picture { height: 4, width: 5, channels, bytes };
        picture.save_png(&path, &[("seed", "7"), ("prompt", "eine schöne 3"), ("Software", "degrain")]).unwrap();
        assert_eq!(Picture::load_png(&path).unwrap(), picture);

        let reader = decoder(&path);
        let info = reader.info();
        let mode = if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb };
        assert_eq!((info.color_type, info.bit_depth), (mode, png::BitDepth::Eight));
        let latin: Vec<_> =
            info.uncompressed_latin1_text.iter().map(|t| (t.keyword.as_str(), t.text.as_str())).collect();
        assert_eq!(latin, [("seed", "7"), ("Software", "degrain")]);
        assert_eq!(info.utf8_text[0].keyword, "prompt");
        assert_eq!(info.utf8_text[0].get_text().unwrap(), "eine schöne 3");
    }
    let foreign = folder.path().join("foreign.png");
    fs::write(&foreign, b"no picture").unwrap();
    let message = Picture::load_png(&foreign).unwrap_err().to_string();
    assert!(message.contains("foreign.png") && message.contains("not a PNG file: convert it"), "{message}");
    let whole = fs::read(folder.path().join("1.png")).unwrap();
    fs::write(&foreign, &whole[..whole.len() / 2]).unwrap();
    let message = Picture::load_png(&foreign).unwrap_err().to_string();
    assert!(message.contains("foreign.png") && message.contains("not a readable PNG"), "{message}");
}

#[test]
fn apng_holds_its_last_frame() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("reverse.png");
    let frames: Vec<Picture> =
        (0..3).map(|n| Picture { height: 2, width: 2, channels: 1, bytes: vec![n, 50, 60, 70] }).collect();
    save_apng(&path, &frames, 80, 2000, &[("steps", "50")]).unwrap();
    let mut reader = decoder(&path);
    let control = reader.info().animation_control().unwrap();
    assert_eq!((control.num_frames, control.num_plays), (3, 0));
    assert_eq!(reader.info().uncompressed_latin1_text[0].text, "50");
    for (n, frame) in frames.iter().enumerate() {
        let mut bytes = vec![0; 4];
        reader.next_frame(&mut bytes).unwrap();
        assert_eq!(bytes, frame.bytes);
        let control = reader.info().frame_control().unwrap();
        assert_eq!((control.delay_num, control.delay_den), (if n == 2 { 2000 } else { 80 }, 1000));
    }
}

#[test]
fn npz_matches_numpy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("samples.npz");
    let images = Images::new((0..24).collect::<Vec<u8>>(), [2, 3, 2, 2]);
    save_npz(&path, &images, Some(&[7, 300])).unwrap();
    let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
    let mut array = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let end = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        assert_eq!((end % 64, bytes[end - 1]), (0, b'\n'));
        (String::from_utf8(bytes[10..end].to_vec()).unwrap().trim_end().to_string(), bytes[end..].to_vec())
    };
    let (header, bytes) = array("arr_0.npy");
    assert_eq!(header, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3,), }");
    assert_eq!(bytes, images.interleaved());
    assert_eq!(bytes[..6], [0, 4, 8, 1, 5, 9]);
    let (header, bytes) = array("arr_1.npy");
    assert_eq!(header, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }");
    assert_eq!(bytes, [7i64.to_le_bytes(), 300i64.to_le_bytes()].concat());
}

#[test]
fn crc32c_matches_the_published_vectors() {
    // RFC 3720, B.4, and the check value of the CRC catalogue.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

#[test]
fn tensorboard_file_holds_framed_records() {
    let folder = TempDir::new().unwrap();
    let mut writer = EventWriter::create(&folder.path().join("run"), 0).unwrap();
    writer.scalar(300, "loss/train", 0.25).unwrap();
    writer.image(300, "samples", &Picture { height: 1, width: 2, channels: 1, bytes: vec![0, 255] }).unwrap();
    // Every record is in the file when its call returns, without a flush or a drop.
    let bytes = fs::read(writer.path()).unwrap();
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked_crc32c(&rest[..8]).to_le_bytes());
        let (event, after) = rest[12..].split_at(length);
        assert_eq!(after[..4], masked_crc32c(event).to_le_bytes());
        // Field 1, a double: the time.
        assert_eq!(event[0], 0x09);
        events.push(&event[9..]);
        rest = &after[4..];
    }
    assert_eq!(events.len(), 3);
    assert_eq!(events[0], b"\x10\x00\x1a\x0dbrain.Event:2");
    let scalar = b"\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0aloss/train\x15\x00\x00\x80\x3e";
    assert_eq!(events[1], scalar);
    assert!(events[2].windows(9).any(|window| window == b"\x0a\x07samples"));
    assert!(events[2].windows(8).any(|window| window == b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn jsonl_loses_only_the_unfinished_record() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.jsonl");
    let mut log = JsonLines::open(&path).unwrap();
    log.append(&serde_json::json!({"step": 1, "loss": 0.5})).unwrap();
    log.append(&serde_json::json!({"step": 2, "loss": f64::NAN})).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let records: Vec<serde_json::Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&records[0]["loss"], &records[1]["loss"]), (&0.5.into(), &serde_json::Value::Null));
    // As after a process that was killed while it wrote a record.
    fs::write(&path, format!("{whole}{{\"step\": 3, \"lo")).unwrap();
    JsonLines::open(&path).unwrap().append(&serde_json::json!({"step": 3})).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{whole}{{\"step\":3}}\n"));
}

#[test]
fn write_atomically_keeps_the_old_file_if_it_fails() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("samples.png");
    write_atomically(&path, b"old").unwrap();
    for fault in [DiskFault::Full(5), DiskFault::Sync(0), DiskFault::Rename(0)] {
        inject(Some(fault));
        let message = write_atomically(&path, b"much longer than the old").unwrap_err().to_string();
        inject(None);
        assert!(message.contains("samples.png") && message.contains("on purpose"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), std::slice::from_ref(&path));
    }
    write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), [path]);

    // The rename fails because a folder has the name.
    let occupied = folder.path().join("occupied");
    fs::create_dir_all(occupied.join("inside")).unwrap();
    assert!(write_atomically(&occupied, b"x").unwrap_err().to_string().contains("occupied"));
    assert_eq!(names(folder.path()).len(), 2);
    let nowhere = folder.path().join("nowhere/grid.png");
    assert!(write_atomically(&nowhere, b"x").unwrap_err().to_string().contains("nowhere/grid.png"));
}

#[test]
fn appender_continues_at_the_end_of_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/log");
    Appender::open(&path).unwrap().append(b"one ").unwrap();
    let mut appender = Appender::open(&path).unwrap();
    appender.append(b"two ").unwrap();
    appender.cut(4).unwrap();
    appender.append(b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one three");
}

#[test]
fn smooth_has_no_bias_and_no_lag_and_skips_nan() {
    let flat: Vec<(f64, f64)> = (0..9).map(|x| (x as f64, 3.0)).collect();
    assert!(smooth(&flat, 4.0).iter().zip(&flat).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12));
    // Weights 1 and 1/2 on both sides: (4 + 1/2) / (3/2), (1 + 4/2) / (3/2).
    assert_eq!(smooth(&[(0.0, 4.0), (1.0, f64::NAN), (2.0, 1.0)], 3.0), [(0.0, 3.0), (2.0, 2.0)]);
    // There is no lag on a slope.
    let slope: Vec<(f64, f64)> = (0..201).map(|x| (x as f64, x as f64)).collect();
    assert!((smooth(&slope, 9.0)[100].1 - 100.0).abs() < 1e-9);
}

#[test]
fn plot_draws_any_points() {
    let painted = |plot: &Plot, rgb: [u8; 3]| plot.draw().bytes.chunks_exact(3).filter(|&pixel| pixel == rgb).count();
    let new = || Plot::new("Loss", "step", "mean squared error");
    let blue = [0, 114, 178];
    for logarithmic in [false, true] {
        let new = || if logarithmic { new().logarithmic() } else { new() };
        // Blue is the color of the first line.
        let falling: Vec<(f64, f64)> = (1..500).map(|x| (x as f64, 1.0 / x as f64)).collect();
        assert!(painted(&new().line("training", &falling), blue) > 500);
        assert!(painted(&new().line("training", &[(3.0, 0.5)]), blue) > 20, "one point is shown");
        assert!(painted(&new().logarithmic_x().line("training", &falling), blue) > 500);
        for points in [&[][..], &[(0.0, f64::NAN), (1.0, f64::INFINITY)], &[(0.0, 2.0), (1.0, 2.0)], &[(0.0, 0.0)]] {
            assert_eq!(new().smoothed("training", points, 10.0).draw().bytes.len(), 1000 * 600 * 3);
        }
        let empty = new().draw();
        assert!(empty.bytes.iter().any(|&byte| byte < 100), "axes and title are drawn");
    }
}

#[test]
fn plot_svg_has_the_lines_and_texts_of_the_plot() {
    let folder = TempDir::new().unwrap();
    let points = [(1.0, 1.0), (10.0, 0.1), (100.0, f64::NAN), (100.0, 0.01)];
    for plot in [
        Plot::new("a < b & \"c\"", "step", "loss"),
        Plot::new("a < b & \"c\"", "step", "loss").logarithmic_x().logarithmic(),
    ] {
        let path = folder.path().join("loss.svg");
        let plot = plot.size(640, 400).smoothed("training", &points, 1.0).line("only one", &[(3.0, 0.5)]);
        plot.save_svg(&path).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert_eq!(svg, plot.svg());
        assert!(
            svg.starts_with("<svg width=\"640\" height=\"400\" viewBox=\"0 0 640 400\"") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        // Every element is closed, text is escaped, and the font is one that every browser has.
        let count = |what: &str| svg.matches(what).count();
        assert_eq!(count("<"), count("/>") + 2 * count("</"), "{svg}");
        assert_eq!((count("a &lt; b &amp; &quot;c&quot;"), count("a < b")), (1, 0));
        assert!(count("<text") > 10 && count("<text") == count("font-family=\"sans-serif\""), "{svg}");
        for text in ["step", "loss", "training", "only one"] {
            assert!(svg.lines().any(|line| line == text), "no '{text}' in {svg}");
        }
        // The line has three points: the point that is not finite is left out.
        let line = svg.lines().find(|line| line.contains("polyline") && line.contains("stroke-width=\"2\"")).unwrap();
        assert_eq!(
            line.split("points=\"").nth(1).unwrap().split_whitespace().filter(|pair| pair.contains(',')).count(),
            3
        );
        assert_eq!(count("<circle"), 1);
        let picture = plot.draw();
        assert_eq!((picture.width, picture.height), (640, 400));
    }
}

#[test]
fn plot_logarithmic_axis_has_numbers_over_any_range() {
    for (low, high, expected) in [
        (0.06, 0.14, &["0.06", "0.08", "0.1", "0.12", "0.14"][..]),
        (2.4, 50.0, &["3", "5", "7", "10", "20", "30", "50"]),
        (1.0, 1000.0, &["1", "2", "5", "10", "20", "50", "100", "200", "500", "1000"]),
        (1e-6, 1e3, &["0.001", "0.01", "0.1", "1", "10", "100"]),
    ] {
        let svg = Plot::new("", "", "").logarithmic().line("", &[(0.0, low), (7.5, high)]).svg();
        // The numbers of the vertical axis are aligned at their end.
        let elements: Vec<&str> =
            svg.split("<text ").filter(|element| element.contains("text-anchor=\"end\"")).collect();
        let numbers: Vec<&str> = elements.iter().filter_map(|element| element.lines().nth(1)).collect();
        let missing: Vec<_> = expected.iter().filter(|number| !numbers.contains(number)).collect();
        assert!(missing.is_empty() && numbers.len() < 14, "{low} to {high}: {numbers:?}");
    }
}

#[test]
fn plot_legend_avoids_the_lines() {
    let corner = |points: &[(f64, f64)]| {
        let svg = Plot::new("", "", "").line("name", points).svg();
        let before = svg.split("\nname\n").next().unwrap().rsplit("<text ").next().unwrap();
        let place = |name: &str| {
            before.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap()
        };
        (if place("x") < 500.0 { "left" } else { "right" }, if place("y") < 300.0 { "high" } else { "low" })
    };
    assert_eq!(corner(&[(0.0, 1.0), (1.0, 0.0)]), ("right", "high"));
    assert_eq!(corner(&[(0.0, 0.0), (1.0, 1.0)]), ("left", "high"));
    assert_eq!(corner(&[(0.0, 0.0), (0.1, 1.0), (0.9, 1.0), (1.0, 0.9)]), ("right", "low"));
    assert_eq!(corner(&[(0.0, 1.0), (0.9, 1.0), (1.0, 0.0)]), ("left", "low"));
}

#[test]
fn grid_keeps_the_pixels_of_mnist() {
    let mnist = load(Path::new("data/mnist"), Split::Test).unwrap();
    let picture = grid(&Images::new(&mnist.images[..64 * 784], [64, 1, 28, 28]), Layout::default());
    let (row, column) = (5, 3);
    for y in 0..28 {
        let start = (2 + row * 30 + y) * picture.width + 2 + column * 30;
        assert_eq!(picture.bytes[start..][..28], mnist.image(row * 8 + column)[y * 28..][..28]);
    }
}
