//! A history written by hand, as lines: what somebody did, one step after the other.
//!
//! `sent P N`: producer P sends its numbers 0 to N - 1, which get the offsets 0 to N - 1 of partition P. `a
//! polls P 0-2 5`: offsets of partition P, with the values that are there by this rule, or another one:
//! `5=p1#7`. Readers named `hand..` have their partitions assigned by hand, others are members of one group.
//! Each line is a step of its own, unless it begins with `[from-to]`.

use super::super::events::{Event, Fate, Group, History, Outcome, Read, Reader, Sent, Value, What};

pub(super) fn history(story: &str) -> History {
    let partitions = vec!["t-0".to_owned(), "t-1".to_owned()];
    let groups = vec![Group { name: "g".to_owned(), follows: vec![0, 1] }];
    let mut history = History { partitions, groups, ..History::default() };
    for (line, step) in story.lines().map(str::trim).filter(|line| !line.is_empty()).zip(1_u64..) {
        let (steps, line) = match line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            Some((steps, line)) => (range(steps), line),
            None => ((step * 10, step * 10 + 5), line),
        };
        let mut words = line.split_whitespace();
        let (who, rest) = (words.next().expect("who"), words.collect::<Vec<_>>());
        match (who, &rest[..]) {
            ("sent", [producer, count]) => sent(&mut history, number(producer), number(count)),
            ("sent", [value, "@", partition, offset]) => {
                let fate = Fate::At(number(partition), number(offset).into());
                history.sends.push(Sent { value: parsed(value), fate });
            }
            ("refused", [value]) => history.sends.push(Sent { value: parsed(value), fate: Fate::Refused }),
            ("unknown", [value]) => history.sends.push(Sent { value: parsed(value), fate: Fate::Unknown }),
            (reader, rest) => {
                let event = Event { begun: steps.0, ended: steps.1, what: what(rest) };
                reader_of(&mut history, reader).events.push(event);
            }
        }
    }
    history
}

fn sent(history: &mut History, producer: u32, count: u32) {
    let of_number = |number: u32| {
        let (value, fate) = (Value::new(producer, number), Fate::At(producer, number.into()));
        Sent { value, fate }
    };
    history.sends.extend((0..count).map(of_number));
}

fn reader_of<'a>(history: &'a mut History, name: &str) -> &'a mut Reader {
    let readers = &mut history.readers;
    let place = readers.iter().position(|reader| reader.name == name).unwrap_or_else(|| {
        let group = (!name.starts_with("hand")).then_some(0);
        readers.push(Reader { name: name.to_owned(), group, events: Vec::new() });
        readers.len() - 1
    });
    &mut history.readers[place]
}

fn what(words: &[&str]) -> What {
    let numbers = |words: &[&str]| words.iter().map(|word| number(word)).collect();
    match words {
        ["has", rest @ ..] => What::Assigned(numbers(rest)),
        ["gives", rest @ ..] => What::Revoked(numbers(rest)),
        ["loses", rest @ ..] => What::Lost(numbers(rest)),
        ["polls", partition, rest @ ..] => {
            What::Polled(rest.iter().flat_map(|word| reads(number(partition), word)).collect())
        }
        [verb, partition, upto] => {
            let outcome = match *verb {
                "commits" => Outcome::Done,
                "fails-to-commit" => Outcome::Refused,
                "may-have-committed" => Outcome::Unknown,
                other => panic!("{other}"),
            };
            What::Committed(vec![(number(partition), number(upto).into())], outcome)
        }
        ["killed"] => What::Killed { was_away: false },
        ["killed-while-away"] => What::Killed { was_away: true },
        ["closed"] => What::Closed { was_away: false },
        ["evicted"] => What::Evicted,
        ["drained"] => What::Drained,
        other => panic!("{other:?}"),
    }
}

fn reads(partition: u32, word: &str) -> Vec<Read> {
    if let Some((offset, value)) = word.split_once('=') {
        return vec![Read { partition, offset: number(offset).into(), value: parsed(value) }];
    }
    let (first, last) = if word.contains('-') { range(word) } else { range(&format!("{word}-{word}")) };
    let read = |offset| Read { partition, offset, value: Value::new(partition, offset as u32) };
    (first..=last).map(read).collect()
}

fn range(word: &str) -> (u64, u64) {
    let (from, to) = word.split_once('-').expect("from-to");
    (number(from).into(), number(to).into())
}

fn parsed(word: &str) -> Value {
    let (producer, place) = word.strip_prefix('p').and_then(|word| word.split_once('#')).expect("p0#1");
    Value::new(number(producer), number(place))
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}
