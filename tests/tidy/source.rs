//! Reads a Rust file well enough for the rules: cuts it into tokens, without comments, and finds the paths
//! in it. It knows nothing of macros, types or names that come in through a glob.

use std::fmt::Display;

/// A file, and what the rules ask about it.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    /// `["log", "chunk"]` for `src/log/chunk.rs`; empty for the crate root.
    pub(crate) module: Vec<&'a str>,
    pub(crate) tokens: Vec<Token<'a>>,
    /// Every path in the code. One that begins with `self` or `super` begins with `crate` here.
    pub(crate) paths: Vec<NamedPath<'a>>,
}

/// A path as the code names it: `["std", "fs", "File"]`.
pub(crate) struct NamedPath<'a> {
    pub(crate) line: usize,
    pub(crate) segments: Vec<&'a str>,
}

/// A word, a literal, `::` or a single character; never a comment.
pub(crate) struct Token<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let module = module.split('/').filter(|name| *name != "lib").collect();
        let mut source = Self { path, text, module, tokens: tokens(text), paths: Vec::new() };
        source.paths = source.find_paths();
        source
    }

    pub(crate) fn finding(&self, line: usize, rule: &str, fix: impl Display) -> String {
        format!("{}:{line}: {rule}: {fix}", self.path)
    }

    /// The text of a token, empty behind the last one.
    pub(crate) fn text_at(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn find_paths(&self) -> Vec<NamedPath<'a>> {
        let mut found = Vec::new();
        // One entry per open brace: the name of the inline module that it opens, if it does.
        let mut scopes: Vec<Option<&str>> = Vec::new();
        for at in 0..self.tokens.len() {
            let before = |steps: usize| at.checked_sub(steps).map_or("", |at| self.text_at(at));
            match self.text_at(at) {
                "{" => scopes.push((before(2) == "mod").then(|| before(1))),
                "}" => scopes.truncate(scopes.len().saturating_sub(1)),
                word if is_word(word) && self.text_at(at + 1) == "::" && before(1) != "::" => {
                    let mut start = Vec::new();
                    if matches!(word, "self" | "super") {
                        start.push("crate");
                        start.extend(self.module.iter().chain(scopes.iter().flatten()));
                    }
                    self.walk_path(at, start, &mut found);
                }
                _ => {}
            }
        }
        found
    }

    /// Adds the path that goes on from `segments` at token `at`, or all its branches:
    /// `crate::{ids::A, log::{B, C}}` are three. Returns where it ends.
    fn walk_path(&self, mut at: usize, mut segments: Vec<&'a str>, found: &mut Vec<NamedPath<'a>>) -> usize {
        let line = self.tokens[at].line;
        while is_word(self.text_at(at)) {
            match self.text_at(at) {
                "super" => segments.truncate(segments.len().saturating_sub(1)),
                "self" => {}
                name => segments.push(name),
            }
            at += 1;
            if self.text_at(at) != "::" {
                break;
            }
            at += 1;
        }
        if self.text_at(at) != "{" || self.text_at(at - 1) != "::" {
            found.push(NamedPath { line, segments });
            return at;
        }
        at += 1;
        while !matches!(self.text_at(at), "}" | "") {
            at = self.walk_path(at, segments.clone(), found);
            // What may stand between a branch and the comma: a star, a rename.
            while !matches!(self.text_at(at), "," | "}" | "") {
                at += 1;
            }
            at += usize::from(self.text_at(at) == ",");
        }
        at + 1
    }
}

pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut line, mut rest) = (1, text);
    while !rest.is_empty() {
        let (text, after) = rest.split_at(piece_length(rest));
        if !text.starts_with("//") && !text.starts_with("/*") && !text.trim().is_empty() {
            tokens.push(Token { line, text });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Bytes of the token, comment or blank that `rest` begins with.
fn piece_length(rest: &str) -> usize {
    let mut chars = rest.chars();
    let first = chars.next().unwrap_or_default();
    let (second, third) = (chars.next(), chars.next());
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    match (first, second, third) {
        ('/', Some('/'), _) => rest.find('\n').unwrap_or(rest.len()),
        ('/', Some('*'), _) => block_comment_length(rest),
        ('"', ..) => string_length(rest),
        ('\'', Some('\\'), _) => rest[3..].find('\'').map_or(rest.len(), |end| 3 + end + 1),
        ('\'', Some(literal), Some('\'')) => 2 + literal.len_utf8(),
        (':', Some(':'), _) => 2,
        _ if matches!(&rest[..word], "r" | "br" | "cr") => raw_string_length(rest).unwrap_or(word),
        _ => word.max(first.len_utf8()),
    }
}

fn string_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '"' {
            return at + 1;
        }
        if c == '\\' {
            chars.next();
        }
    }
    rest.len()
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let start = rest.find('r')? + 1;
    let hashes = rest[start..].find(|c| c != '#')?;
    let body = rest[start + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let before_body = rest.len() - body.len();
    Some(body.find(&close).map_or(rest.len(), |end| before_body + end + close.len()))
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let (mut open, mut at) = (0, 0);
    while let Some(next) = rest[at..].find(['/', '*']) {
        at += next;
        let (opened, length) = match rest.get(at..at + 2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, 1),
        };
        open += opened;
        at += length;
        if open == 0 {
            return at;
        }
    }
    rest.len()
}
