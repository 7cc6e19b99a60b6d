//! A headless Chromium that opens a page and reports its console output and its visible elements.

use serde::Deserialize;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The names that tools/browser.sh looks for, in its order.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// No user profile, no background traffic, no sandbox (root cannot use it). The frame may read the
/// file inside it.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--allow-file-access-from-files",
    "--window-size=1400,1000",
    "--dump-dom",
];

/// A page loads in a second or two; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows the page in a frame of WIDTH pixels, because a window has at least 500. Its script
/// inspects the page and writes the findings into its own document, so the page itself needs no
/// script.
const FRAME: &str = r"<!doctype html>
<meta charset='utf-8'>
<iframe src='page.html' width='WIDTH' height='900' style='border: 0'></iframe>
<script>
addEventListener('load', () => {
    const view = document.querySelector('iframe').contentWindow;
    const size = element => { const box = element.getBoundingClientRect(); return [box.width, box.height]; };
    const all = selector => [...view.document.querySelectorAll(selector)];
    const outside = address => !address.startsWith('data:') && !address.startsWith('#');
    const addresses = ['src', 'href', 'srcset', 'poster', 'data', 'action'];
    const findings = {
        images: all('img').map(image => [image.naturalWidth, ...size(image)]),
        drawings: all('svg').map(size),
        numbers: all('[data-value]').map(element =>
            ({ ...element.dataset, text: element.innerText, size: size(element) })),
        references: all(addresses.map(name => `[${name}]`).join()).flatMap(element =>
            addresses.map(name => element.getAttribute(name)).filter(value => value && outside(value))),
        requests: view.performance.getEntriesByType('resource').map(entry => entry.name).filter(outside),
        sections: all('h2').map(title => title.innerText),
        best: all('.best .number').map(element => element.dataset.run + ' ' + element.dataset.field),
        window: view.innerWidth,
        width: view.document.documentElement.scrollWidth,
    };
    const output = document.createElement('pre');
    output.id = 'findings';
    output.textContent = JSON.stringify(findings);
    document.body.append(output);
});
</script>";

/// The findings on a page.
#[derive(Debug, Deserialize)]
pub struct Findings {
    /// Natural width, and width and height on the screen, of each image.
    pub images: Vec<[f64; 3]>,
    /// Width and height of each `<svg>`.
    pub drawings: Vec<[f64; 2]>,
    pub numbers: Vec<Shown>,
    /// External addresses in attributes.
    pub references: Vec<String>,
    /// Addresses that the page requested.
    pub requests: Vec<String>,
    /// Titles of the sections.
    pub sections: Vec<String>,
    /// Run and field of the bold numbers.
    pub best: Vec<String>,
    /// Width of the frame with its scroll bar, and of its content.
    pub window: f64,
    pub width: f64,
    /// Console lines of the page, including errors and warnings of the browser about it.
    #[serde(default)]
    pub console: Vec<String>,
}

/// A number as the page shows it.
#[derive(Debug, Deserialize)]
pub struct Shown {
    pub run: String,
    pub field: String,
    pub value: String,
    pub text: String,
    pub size: [f64; 2],
}

/// Opens a page in a frame of `width` pixels.
pub fn open(page: &str, width: u32) -> Findings {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("page.html"), page).unwrap();
    fs::write(file("frame.html"), FRAME.replace("WIDTH", &width.to_string())).unwrap();
    let mut browser = Command::new(browser())
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", file("profile").display()))
        .arg(format!("file://{}", file("frame.html").display()))
        .stdin(Stdio::null())
        .stdout(File::create(file("dom")).unwrap())
        .stderr(File::create(file("log")).unwrap())
        .spawn()
        .unwrap();
    let read = |name: &str| String::from_utf8_lossy(&fs::read(file(name)).unwrap()).into_owned();
    let start = Instant::now();
    while browser.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            browser.kill().unwrap();
            panic!("the browser did not load the page within {PATIENCE:?}: {}", read("log"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (dom, log) = (read("dom"), read("log"));
    let found = dom.split_once("<pre id=\"findings\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((json, _)) = found else { panic!("the page could not be read:\n{dom}\n{log}") };
    let json = json.replace("&nbsp;", "\u{a0}").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let findings: Findings = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error} in {json}"));
    // The browser also complains about a machine without a desktop.
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    Findings { console, ..findings }
}

fn browser() -> PathBuf {
    let folders: Vec<PathBuf> = std::env::var_os("PATH").map_or(vec![], |path| std::env::split_paths(&path).collect());
    let found =
        NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("none of {NAMES:?} is on the PATH: install Chromium with tools/browser.sh, as `make test` does")
    })
}
