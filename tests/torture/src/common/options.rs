//! The command line.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const USAGE: &str = "\
torture MODE [--seed N] [options]

  kill --cycles N        kills a process that sends, and looks at what it had acknowledged (500)
  power --cases N        power losses on a simulated file system (20000)
  faults                 every storage operation fails once, in every way
  flips --cases N        every prefix and flipped bit of real files, or N of them; blocks and files too
  full-disk --rounds N   a file system without room (20)
  sync-failure --cases N syncs that fail
  history --seconds N    groups whose members come, go, die and stall: what everybody was told, checked (20)
  compaction --cases N   a compacted topic, killed and without power at random, compared with a list (4000)
  self-test              puts known bugs back; each must be found

  --seed N      the same choices again
  --case N      only case, cycle or round N of the run with that seed
  --seconds N   ends after that time, whatever else was asked for";

/// What a run is to do. A count that was not given is the mode's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) cycles: Option<u64>,
    pub(crate) cases: Option<u64>,
    pub(crate) rounds: Option<u64>,
    pub(crate) seconds: Option<u64>,
    /// Only this case of the run.
    pub(crate) case: Option<u64>,
    /// The bug that is planted, by name.
    pub(crate) bug: Option<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Run { mode: String, options: Options },
}

impl Request {
    pub(crate) fn parse(words: &[String], modes: &[&str]) -> Result<Self, String> {
        let mut words = words.iter().map(String::as_str);
        let mode = match words.next() {
            None => return Err("a mode is missing".to_owned()),
            Some("--help" | "-h" | "help") => return Ok(Self::Help),
            Some(mode) if modes.contains(&mode) => mode.to_owned(),
            Some(other) => return Err(format!("{other:?} is no mode; there are {}", modes.join(", "))),
        };
        let mut options = Options { seed: seed_of_now(), ..Options::default() };
        while let Some(word) = words.next() {
            if matches!(word, "--help" | "-h") {
                return Ok(Self::Help);
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, words.next()),
            };
            options.set(name, value)?;
        }
        Ok(Self::Run { mode, options })
    }
}

impl Options {
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let text = || value.ok_or_else(|| format!("{name} needs a value"));
        let number = || {
            let text = text()?;
            text.replace('_', "").parse().map_err(|_| format!("{name} needs a number, not {text:?}"))
        };
        match name {
            "--seed" => self.seed = number()?,
            "--cycles" => self.cycles = Some(number()?),
            "--cases" => self.cases = Some(number()?),
            "--rounds" => self.rounds = Some(number()?),
            "--seconds" => self.seconds = Some(number()?),
            "--case" => self.case = Some(number()?),
            "--bug" => self.bug = Some(text()?.to_owned()),
            other => return Err(format!("{other:?} is no option")),
        }
        Ok(())
    }

    /// The counts as they were given, for a command that repeats the run.
    pub(crate) fn counts(&self) -> String {
        let given = [
            ("--cycles", self.cycles),
            ("--cases", self.cases),
            ("--rounds", self.rounds),
            ("--seconds", self.seconds),
            ("--case", self.case),
        ];
        given.iter().filter_map(|(name, count)| Some(format!(" {name} {}", (*count)?))).collect()
    }
}

/// A run without a seed has one that is unlikely to come again, and short enough to be typed.
fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    super::random::mix(now.as_nanos() as u64) % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Request::parse(&words, &["kill", "power"])
    }

    #[test]
    fn options_are_what_was_typed() {
        let expected =
            Options { seed: 7, cycles: Some(1_000), bug: Some("x".to_owned()), ..Options::default() };
        let run = Request::Run { mode: "kill".to_owned(), options: expected.clone() };
        assert_eq!(parse("kill --seed 7 --cycles=1_000 --bug x"), Ok(run));
        assert_eq!(expected.counts(), " --cycles 1000");
        assert_eq!(parse("kill --help"), Ok(Request::Help));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["", "push", "kill --speed 3", "kill --seed", "kill --seed x", "kill 7"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
