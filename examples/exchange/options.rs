//! What the command line asks for.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use crate::Failure;
use crate::generate::MIN_MESSAGES;

pub(crate) const USAGE: &str = "\
usage: exchange [--input FILE] [--data-dir DIR] [--seed N] [--messages N] [--write FILE]

  --input FILE    read the messages from FILE (NASDAQ ITCH 5.0) instead of generating them
  --data-dir DIR  keep the log in DIR; the next run publishes only what is not there yet
  --seed N        generate another day (default 1)
  --messages N    generate so many messages (default 12000)
  --write FILE    also write the generated day to FILE";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) source: Source,
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where the messages come from.
#[derive(Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Generator { seed: u64, messages: usize, write_to: Option<PathBuf> },
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let given = Given::parse(arguments).map_err(|reason| format!("{reason}\n\n{USAGE}"))?;
        let source = given.source().map_err(|reason| format!("{reason}\n\n{USAGE}"))?;
        Ok(Self { source, data_dir: given.data_dir })
    }
}

/// Each option as it stood there.
#[derive(Default)]
struct Given {
    input: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    seed: Option<u64>,
    messages: Option<usize>,
    write: Option<PathBuf>,
}

impl Given {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let mut given = Self::default();
        while let Some(option) = arguments.next() {
            let name = option.to_string_lossy();
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_ref() {
                "--input" => given.input = Some(value()?.into()),
                "--data-dir" => given.data_dir = Some(value()?.into()),
                "--seed" => given.seed = Some(number(&name, &value()?)?),
                "--messages" => given.messages = Some(number(&name, &value()?)?),
                "--write" => given.write = Some(value()?.into()),
                _ => return Err(format!("{name:?} is not an option").into()),
            }
        }
        Ok(given)
    }

    fn source(&self) -> Result<Source, Failure> {
        let generates = self.seed.is_some() || self.messages.is_some() || self.write.is_some();
        match &self.input {
            Some(_) if generates => Err("--seed, --messages and --write do not go with --input".into()),
            Some(input) => Ok(Source::File(input.clone())),
            None => self.generator(),
        }
    }

    fn generator(&self) -> Result<Source, Failure> {
        let messages = self.messages.unwrap_or(12_000);
        if messages < MIN_MESSAGES {
            return Err(format!("--messages must be at least {MIN_MESSAGES}").into());
        }
        Ok(Source::Generator { seed: self.seed.unwrap_or(1), messages, write_to: self.write.clone() })
    }
}

fn number<N: FromStr>(name: &str, value: &OsStr) -> Result<N, Failure> {
    let value = value.to_string_lossy();
    value.parse().map_err(|_| format!("{name} needs a number, not {value:?}").into())
}
