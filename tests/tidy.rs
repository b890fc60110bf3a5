//! The habits of this code base, kept by a test: it reads every `.rs` file of the tree once and lists what
//! breaks a rule as `file:line: rule: how to fix`. The reasons are in CONTRIBUTING.md; what a rule allows
//! stands in the constants below. The rules are tested too, at the end; how a file is read is in `tidy/`.

#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, Token, is_word};

/// The modules of the library from the bottom up: each may use those below it and itself, nothing else.
/// `lib` is the crate root. The block "layers" in docs/architecture.md says the same.
const LAYERS: [&[&str]; 12] = [
    &["sync"],
    &["clock", "seeded_bugs", "trace"],
    &["ids"],
    &["error"],
    &["config"],
    &["storage", "record"],
    &["log"],
    &["topic", "group"],
    &["producer", "consumer", "table"],
    &["sink"],
    &["broker"],
    &["lib", "fuzzing"],
];

/// What only one file or folder may name, and what everybody else does instead.
const DOORS: [(&str, &str, &str); 8] = [
    ("std::fs", "src/storage/disk.rs", "go through crate::storage, so that a test can replace it"),
    ("std::sync", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("core::sync", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("parking_lot", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("event_listener", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("std::thread", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("std::time::Instant", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
    ("crossbeam_channel", "src/sync/", "take it from crate::sync, so that a model checker can replace it"),
];

const UNSAFE_FILES: [&str; 1] = ["src/log/chunk.rs"];
const BANNED_MACROS: [&str; 7] = ["println", "eprintln", "print", "eprint", "dbg", "todo", "unimplemented"];
/// What lies beside the sources; hidden files too. Anything else was left there by mistake.
const TOP_LEVEL: [&str; 14] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "docs",
    "examples",
    "rustfmt.toml",
    "src",
    "target",
    "tests",
];
const MAX_COLUMNS: usize = 110;
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect_rust_files(root, &mut files);
    assert!(files.contains(&root.join("src/lib.rs")), "the walk must reach the library");

    let mut findings = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).expect("below the root").display().to_string();
        let text = fs::read_to_string(&file).expect("a readable source file");
        findings.extend(check(&path.replace('\\', "/"), &text));
    }
    let architecture = fs::read_to_string(root.join("docs/architecture.md")).unwrap_or_default();
    findings.extend(check_architecture(&architecture));
    assert!(findings.is_empty(), "{} findings:\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the root is readable");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let is_strange = |name: &String| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str());
    assert_eq!(names.filter(is_strange).collect::<Vec<_>>(), [""; 0]);
}

/// Every `.rs` file below `dir`, but for build output and hidden folders.
fn collect_rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// All findings in one file; `path` is relative to the root.
fn check(path: &str, text: &str) -> Vec<String> {
    let source = Source::new(path, text);
    let everywhere: [fn(&Source) -> Vec<String>; 3] = [opening, line_width, file_length];
    let library: [fn(&Source) -> Vec<String>; 6] =
        [function_length, unsafe_code, macros, doors, layers, re_exports];
    let library = if path.starts_with("src/") { &library[..] } else { &[] };
    everywhere.iter().chain(library).flat_map(|rule| rule(&source)).collect()
}

// ---- the rules ----

fn opening(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//! ");
    let fix = "begin with one `//!` paragraph: what the file is, and is not";
    if opens { Vec::new() } else { vec![source.finding(1, "opening", fix)] }
}

/// Not in `tests/`, where what an assertion says when it fails may be long.
fn line_width(source: &Source) -> Vec<String> {
    if source.path.starts_with("tests/") {
        return Vec::new();
    }
    let lines = source.text.lines().zip(1..);
    let wide =
        lines.map(|(text, line)| (text.chars().count(), line)).filter(|(width, _)| *width > MAX_COLUMNS);
    let fix = |width| format!("{width} columns: break it at {MAX_COLUMNS}");
    wide.map(|(width, line)| source.finding(line, "line-width", fix(width))).collect()
}

/// The unit tests at the end of a file do not count.
fn file_length(source: &Source) -> Vec<String> {
    let end = source.text.find("#[cfg(test)]\nmod ").unwrap_or(source.text.len());
    let lines = source.text[..end].lines().count();
    if lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    let fix = format!("{lines} lines without tests: split by role, at most {MAX_FILE_LINES}");
    vec![source.finding(MAX_FILE_LINES + 1, "file-length", fix)]
}

fn function_length(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if token.text != "fn" || !is_word(source.text_at(at + 1)) {
            continue;
        }
        let lines = function_end(&source.tokens[at..]).map_or(1, |end| end - token.line + 1);
        if lines > MAX_FUNCTION_LINES {
            let name = source.text_at(at + 1);
            let fix = format!("{name} has {lines} lines: move parts out, at most {MAX_FUNCTION_LINES}");
            findings.push(source.finding(token.line, "function-length", fix));
        }
    }
    findings
}

/// The line on which the function at the front ends; `None` if it has no body.
fn function_end(tokens: &[Token]) -> Option<usize> {
    let mut open = 0;
    for token in tokens {
        match token.text {
            "(" | "[" | "{" => open += 1,
            ")" | "]" => open -= 1,
            "}" if open == 1 => return Some(token.line),
            "}" => open -= 1,
            ";" if open == 0 => return None,
            _ => {}
        }
    }
    None
}

fn unsafe_code(source: &Source) -> Vec<String> {
    if UNSAFE_FILES.contains(&source.path) {
        return Vec::new();
    }
    let found = source.tokens.iter().filter(|token| token.text == "unsafe");
    let fix = format!("write it safely, or put it behind a safe function in {}", UNSAFE_FILES.join(", "));
    found.map(|token| source.finding(token.line, "unsafe", &fix)).collect()
}

fn macros(source: &Source) -> Vec<String> {
    let calls = source.tokens.windows(2).filter(|pair| pair[1].text == "!");
    let banned = calls.map(|pair| &pair[0]).filter(|token| BANNED_MACROS.contains(&token.text));
    let fix = |name| format!("no {name}! in the library: return a value or an error");
    banned.map(|token| source.finding(token.line, "macro", fix(token.text))).collect()
}

fn doors(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for path in &source.paths {
        for (door, keeper, instead) in DOORS {
            if path.segments.join("::").starts_with(door) && !source.path.starts_with(keeper) {
                let fix = format!("{door} only in {keeper}: {instead}");
                findings.push(source.finding(path.line, "door", fix));
            }
        }
    }
    findings
}

fn layers(source: &Source) -> Vec<String> {
    let own = source.module.first().copied().unwrap_or("lib");
    let Some(own_level) = level(own) else {
        let fix = format!("give {own} its place in LAYERS of tests/tidy.rs and in docs/architecture.md");
        return vec![source.finding(1, "layers", fix)];
    };
    let mut findings = Vec::new();
    for path in source.paths.iter().filter(|path| path.segments.first() == Some(&"crate")) {
        let named = path.segments.get(1).copied().unwrap_or("lib");
        // What is no module lies in the crate root, the topmost layer.
        let (target, target_level) = level(named).map_or(("lib", LAYERS.len() - 1), |level| (named, level));
        if target != own && target_level >= own_level {
            let lower = format!("{own} (layer {own_level}) may only use lower layers");
            let fix = format!("{}: {lower}, not {target} (layer {target_level})", path.segments.join("::"));
            findings.push(source.finding(path.line, "layers", fix));
        }
    }
    findings
}

fn level(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// A type has one name inside the crate: the module that defines it. `src/sync/` stands in for others.
fn re_exports(source: &Source) -> Vec<String> {
    if source.path == "src/lib.rs" || source.path.starts_with("src/sync/") {
        return Vec::new();
    }
    let own_modules: Vec<&str> =
        source.tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text).collect();
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| token.text == "use") {
        let is_public = at > 0 && matches!(source.text_at(at - 1), "pub" | ")");
        let head = source.text_at(at + 1);
        if is_public && head != "self" && !own_modules.contains(&head) {
            let fix = format!("re-export {head}:: only in src/lib.rs; elsewhere name it where it is defined");
            findings.push(source.finding(token.line, "re-export", fix));
        }
    }
    findings
}

/// The block "layers" must list the layers, one `level name name` a line, in any order; `#` begins a remark.
fn check_architecture(text: &str) -> Option<String> {
    let mut wanted: Vec<String> =
        LAYERS.iter().enumerate().map(|(level, names)| format!("{level} {}", names.join(" "))).collect();
    let fence = text.lines().position(|line| line.trim() == "```layers").unwrap_or(text.lines().count());
    let block = text.lines().skip(fence + 1).take_while(|line| line.trim() != "```");
    let words = block.map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let mut shown: Vec<String> = words.map(|words| words.collect::<Vec<_>>().join(" ")).collect();
    let fix = format!("the block \"layers\" must say: {}", wanted.join(", "));
    wanted.sort();
    shown.sort();
    (shown != wanted).then(|| format!("docs/architecture.md:{}: layers: {fix}", fence + 1))
}

// ---- the rules can fail ----

/// The findings in `code` under a proper first line, so that it begins on line 2.
fn check_snippet(path: &str, code: &str) -> Vec<String> {
    check(path, &format!("//! A file.\n{code}\n"))
}

#[test]
fn every_rule_finds_what_it_forbids() {
    let wide_line = format!("// {}", "é".repeat(108));
    let long_function = format!("fn long(a: [u8; 2]) {{\n{}}}", "\n".repeat(69));
    let branches = "use crate::{\n  ids::{A, B,},\n  error as e,\n  topic::*,\n};";
    for (path, code, finding) in [
        ("examples/model.rs", wide_line.as_str(), "2: line-width: 111 columns"),
        ("tests/model.rs", &"//\n".repeat(499), "501: file-length: 501 lines"),
        ("src/log/mod.rs", &long_function, "2: function-length: long has 71 lines"),
        ("src/log/segment.rs", "unsafe impl Send for Segment {}", "2: unsafe: "),
        ("src/log/mod.rs", "fn f() { println!(\"{}\", 'x') }", "2: macro: no println!"),
        ("src/log/mod.rs", "const A: [char; 2] = ['\"', '\\''];\nfn f() { todo!() }", "3: macro: no todo!"),
        ("src/storage/memory.rs", "use std::{io, fs::{File}};", "2: door: std::fs "),
        ("src/log/mod.rs", "fn f() { std::sync::atomic::fence(A) }", "2: door: std::sync "),
        ("src/topic/mod.rs", "use parking_lot::Mutex;", "2: door: parking_lot "),
        ("src/topic/mod.rs", "use event_listener::Event;", "2: door: event_listener "),
        ("src/log/mod.rs", "fn f() { std::thread::yield_now() }", "2: door: std::thread "),
        ("src/log/mod.rs", "use std::time::{Duration, Instant};", "2: door: std::time::Instant "),
        ("src/log/mod.rs", "use crossbeam_channel::Sender;", "2: door: crossbeam_channel "),
        ("src/server/mod.rs", "", "1: layers: give server its place"),
        ("src/log/mod.rs", "use crate::broker::Broker;", "2: layers: crate::broker::Broker: log (layer 6)"),
        ("src/storage/disk.rs", "use crate::record::frame;", "2: layers: crate::record::frame: storage "),
        ("src/ids.rs", "fn f() -> crate::Error { loop {} }", "2: layers: crate::Error: ids (layer 2)"),
        ("src/log/mod.rs", branches, "5: layers: crate::topic"),
        ("src/log/chunk.rs", "use super::super::topic::Topic;", "2: layers: crate::topic::Topic: log "),
        ("src/ids.rs", "mod tests { use super::super::log::X; }", "2: layers: crate::log::X: ids "),
        ("src/topic/mod.rs", "pub use crate::log::Log;", "2: re-export: "),
        ("src/topic/mod.rs", "mod catalog;\npub(crate) use bytes::Bytes;", "3: re-export: "),
    ] {
        let found = check_snippet(path, code);
        let expected = found.len() == 1 && found[0].starts_with(&format!("{path}:{finding}"));
        assert!(expected, "{finding} is not what was found: {found:?}");
    }
    assert_eq!(check("tests/model.rs", "use std::io;\n").len(), 1, "the first line says nothing");
}

#[test]
fn what_the_rules_allow_passes() {
    let long_tests = format!("#[cfg(test)]\nmod tests {{{}}}", "\n".repeat(600));
    for (path, code) in [
        ("src/log/chunk.rs", "use super::segment::Segment;\nunsafe impl Send for Chunk {}"),
        ("src/log/chunk.rs", "mod tests { use super::super::segment::Segment; use crate::ids::A; }"),
        ("src/storage/disk.rs", "use std::fs::File;"),
        ("src/sync/mod.rs", "pub(crate) use parking_lot::Mutex;\nuse std::sync::Arc;"),
        ("src/topic/mod.rs", "mod catalog;\npub use catalog::Catalog;\nuse crate::{ids::{A, B}, log as l};"),
        ("src/lib.rs", "mod broker;\npub use broker::Broker;\nuse crate::log;"),
        ("src/ids.rs", "// crate::broker\n/* /* println!() */ unsafe */\n/// [`X`](crate::X)\nstruct A;"),
        ("src/ids.rs", r##"const A: [&str; 2] = [r#"\" unsafe " std::fs"#, "\" todo!()"];"##),
        ("src/ids.rs", "fn f<'a>(x: &'a str) -> char { '\"' } // unsafe \""),
        ("src/ids.rs", &long_tests),
        ("tests/model.rs", "use std::{fs, sync::Arc};\nfn f() { println!() }"),
    ] {
        assert_eq!(check_snippet(path, code), [""; 0], "{path}");
    }
}

#[test]
fn the_documented_layers_must_agree() {
    let lines = LAYERS.iter().enumerate().map(|(level, names)| format!("{level}  {}", names.join(" ")));
    let block: Vec<String> = lines.rev().map(|line| line + "   # a remark").collect();
    let page = |block: &[String]| format!("# Architecture\n```layers\n{}\n```\n", block.join("\n"));
    assert_eq!(check_architecture(&page(&block)), None);
    assert!(check_architecture(&page(&block[1..])).is_some());
    assert!(check_architecture("# Architecture").is_some());
}
