//! As much of Markdown as the tests of the documents need: code, links and headings.

use std::collections::BTreeMap;

/// A command line or a piece of inline code, with the number of its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    pub line: usize,
    pub text: String,
}

/// The parts of a document that the tests check.
#[derive(Debug, Default)]
pub struct Document {
    /// Lines of shell blocks (fenced as `sh` or without a language, or indented), with continuation
    /// lines joined.
    pub commands: Vec<Code>,
    /// Inline code.
    pub spans: Vec<Code>,
    /// Targets of links and images.
    pub links: Vec<Code>,
    /// Anchors of the headings, as GitHub makes them.
    pub anchors: Vec<String>,
    /// Code quoted from a file: the file, named by a comment `<!-- from FILE -->` above the block,
    /// and the block.
    pub excerpts: Vec<(String, Code)>,
    /// Lines with an odd number of backticks: inline code must not be broken over two lines.
    pub broken: Vec<usize>,
}

impl Document {
    pub fn parse(text: &str) -> Document {
        let mut document = Document::default();
        let mut fence: Option<bool> = None;
        let mut open: Option<Code> = None;
        let mut source: Option<String> = None;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()) {
            if let Some(language) = content.trim_start().strip_prefix("```") {
                fence = match fence {
                    Some(_) => {
                        source = None;
                        None
                    }
                    None => {
                        let excerpt = Code { line, text: String::new() };
                        document.excerpts.extend(source.clone().map(|source| (source, excerpt)));
                        Some(matches!(language.trim(), "" | "sh"))
                    }
                };
                continue;
            }
            if let (Some(_), Some(_), Some((_, code))) = (fence, &source, document.excerpts.last_mut()) {
                code.text += content;
                code.text += "\n";
                continue;
            }
            if let Some(file) = content.strip_prefix("<!-- from ").and_then(|rest| rest.strip_suffix(" -->")) {
                source = Some(file.to_string());
                continue;
            }
            let indented = fence.is_none() && content.starts_with("    ");
            if fence == Some(true) || indented || open.is_some() {
                let mut command = open.take().unwrap_or(Code { line, text: String::new() });
                let part = content.trim();
                match part.strip_suffix('\\') {
                    Some(part) => {
                        command.text += part;
                        open = Some(command);
                    }
                    None => {
                        command.text += part;
                        document.commands.push(command);
                    }
                }
                continue;
            }
            if fence.is_some() {
                continue;
            }
            if let Some(title) = heading(content) {
                let slug = slug(title);
                let count = counts.entry(slug.clone()).or_insert(0);
                document.anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
                *count += 1;
            }
            if content.matches('`').count() % 2 == 1 {
                document.broken.push(line);
            }
            let (prose, spans) = split_spans(content);
            document.spans.extend(spans.into_iter().map(|text| Code { line, text }));
            document.links.extend(links(&prose).map(|text| Code { line, text: text.into() }));
        }
        document
    }
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    title.strip_prefix(' ').filter(|_| (1..=6).contains(&level))
}

/// GitHub's anchor of a heading.
fn slug(title: &str) -> String {
    let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A line without its inline code, and the inline code.
fn split_spans(line: &str) -> (String, Vec<String>) {
    let mut prose = String::new();
    let mut spans = vec![];
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 0 {
            prose += part;
        } else {
            spans.push(part.to_string());
        }
    }
    (prose, spans)
}

fn links(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The commands of a shell line, each as its words. Comments and redirections are dropped.
pub fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![vec![]];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for c in line.chars().chain([' ']) {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            None => match c {
                '\\' => escaped = true,
                '"' | '\'' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                '#' if word.is_none() => break,
                ' ' | '|' | ';' | '&' => {
                    if let Some(word) = word.take() {
                        commands.last_mut().expect("never empty").push(word);
                    }
                    if c != ' ' {
                        commands.push(vec![]);
                    }
                }
                c => word.get_or_insert_default().push(c),
            },
        }
    }
    for command in &mut commands {
        command.retain(|word| !word.starts_with('>') && !word.starts_with("2>"));
        let prefix = |word: &String| word == "$" || word == "time";
        let count = command.iter().take_while(|word| prefix(word)).count();
        command.drain(..count);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

#[test]
fn markdown_commands_spans_links_and_anchors_are_found() {
    let text = "# A `b` c\nSee [x](y.md#z) and `train --steps 3`.\n\n```sh\n$ train --lr 1 \\\n    --seed 2  # why\n```\n\n\
                ```text\ntrain -> no\n```\n## A b c\n<!-- from x.rs -->\n```rust\nlet a = `b`;\n```\n";
    let document = Document::parse(text);
    assert_eq!(document.anchors, ["a-b-c", "a-b-c-1"]);
    assert_eq!(document.links, [Code { line: 2, text: "y.md#z".into() }]);
    assert_eq!(document.spans[1], Code { line: 2, text: "train --steps 3".into() });
    assert_eq!(document.excerpts, [("x.rs".into(), Code { line: 14, text: "let a = `b`;\n".into() })]);
    assert_eq!(document.commands.len(), 1);
    assert_eq!(document.commands[0].line, 5);
    assert_eq!(words(&document.commands[0].text), [["train", "--lr", "1", "--seed", "2"]]);
}

#[test]
fn markdown_shell_words_keep_quotes_and_split_at_pipes() {
    let found = words("make train ARGS=\"--steps 2 --out x\" | head > y && sample --count 4 # train --no");
    assert_eq!(
        found,
        [vec!["make", "train", "ARGS=--steps 2 --out x"], vec!["head", "y"], vec!["sample", "--count", "4"]]
    );
}
