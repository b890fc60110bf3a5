//! What bedside monitors send: HL7 version 2 messages of the type ORU^R01
//! (<https://www.hl7.org/implement/standards/product_brief.cfm?product_id=185>, chapter 7). A message
//! begins with a segment `MSH`; `PID` has the patient, `OBR` the time, and each `OBX` a measurement with
//! its LOINC code (<https://loinc.org>). Segments end with CR; LF and CRLF are taken too, and so are the
//! framing bytes of MLLP. Segments, codes and message types that are not known here are passed over.

use std::fs;
use std::io::Write;
use std::path::Path;

use common::{Failure, about, about_line, write_file};

use crate::time;
use crate::vitals::{Feed, Observation, Vitals};

/// Adds a file's observations to the feed.
pub(crate) fn read(path: &Path, text: &str, feed: &mut Feed) -> Result<(), Failure> {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{1c}'], "\n");
    let mut message = Message::default();
    for (number, line) in text.lines().enumerate() {
        let wrong = |reason: String| about_line(path, number + 1, reason);
        match line.get(..3).unwrap_or(line) {
            "" => {}
            "MSH" => {
                message.end(feed);
                message = Message::begin(line).map_err(wrong)?;
            }
            _ if !message.has_begun => {
                return Err(wrong(format!("a message must begin with MSH, not with {line:.20?}")));
            }
            _ => message.segment(line, feed).map_err(wrong)?,
        }
    }
    message.end(feed);
    Ok(())
}

/// Writes the whole feed, a message an observation.
pub(crate) fn write(path: &Path, feed: &Feed) -> Result<(), Failure> {
    write_file(path, |out| {
        let mut numbered = (1..).zip(&feed.observations);
        numbered.try_for_each(|(number, observation)| write_message(out, number, observation))
    })
}

/// A file's text. Bytes that are no UTF-8 occur in names, which do not matter here.
pub(crate) fn text_of(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path).map_err(|error| about(path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A message as far as it was read, and the observation in it.
#[derive(Default)]
struct Message {
    has_begun: bool,
    is_observation: bool,
    separator: char,
    component: char,
    sent_at: Option<i64>,
    patient: String,
    /// From `OBR`.
    observed_at: Option<i64>,
    vitals: Vitals,
    /// Whether there was anything that is known here.
    has_vitals: bool,
}

impl Message {
    fn begin(line: &str) -> Result<Self, String> {
        let wrong = || "MSH must name its separators, like MSH|^~\\&|".to_owned();
        let mut separators = line.chars().skip(3);
        let separator = separators.next().ok_or_else(wrong)?;
        let component = separators.next().ok_or_else(wrong)?;
        // MSH-1 is the separator itself, so that every field is one place to the left of its number.
        let fields: Vec<&str> = line.split(separator).collect();
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        let mut kind = field(9).split(component);
        let is_observation = kind.next() == Some("ORU") && kind.next() == Some("R01");
        let sent_at = time_or_nothing("MSH-7", field(7))?;
        Ok(Self { has_begun: true, is_observation, separator, component, sent_at, ..Self::default() })
    }

    fn segment(&mut self, line: &str, feed: &mut Feed) -> Result<(), String> {
        if !self.is_observation {
            return Ok(());
        }
        let fields: Vec<&str> = line.split(self.separator).collect();
        let field = |number: usize| fields.get(number).copied().unwrap_or_default();
        match fields[0] {
            "PID" => {
                let id = field(3).split([self.component, '~']).next().unwrap_or_default();
                if id.is_empty() {
                    return Err("PID-3 must say who the patient is".to_owned());
                }
                self.end(feed);
                id.clone_into(&mut self.patient);
            }
            "OBR" => {
                let observed_at = time_or_nothing("OBR-7", field(7))?;
                if observed_at != self.observed_at {
                    self.end(feed); // one message may have observations of several moments
                }
                self.observed_at = observed_at;
            }
            "OBX" if self.patient.is_empty() => return Err("there is no PID before this OBX".to_owned()),
            "OBX" if self.observed_at.or(self.sent_at).is_none() => {
                return Err("neither OBR-7 nor MSH-7 says when this was measured".to_owned());
            }
            "OBX" if fields.len() < 6 => return Err("OBX must have its value in field 5".to_owned()),
            "OBX" => self.measurement(field(3), field(5), field(6), field(11))?,
            _ => {}
        }
        Ok(())
    }

    fn measurement(&mut self, code: &str, value: &str, unit: &str, status: &str) -> Result<(), String> {
        let code = code.split(self.component).next().unwrap_or_default();
        let Some((_, set)) = CODES.iter().find(|(known, _)| *known == code) else { return Ok(()) };
        self.has_vitals = true;
        // `""` says that there is no value, and so do the states "cannot be obtained" and "deleted".
        if matches!(value, "" | "\"\"") || matches!(status, "X" | "D" | "N") {
            return Ok(());
        }
        let mut components = value.split(self.component);
        if code == CONSCIOUSNESS {
            let is_alert = |word: &str| word.eq_ignore_ascii_case("a") || word.eq_ignore_ascii_case("alert");
            self.vitals.is_alert = Some(components.any(is_alert));
            return Ok(());
        }
        match value.trim().parse::<f64>() {
            Ok(number) if (0.0..=999.0).contains(&number) => {
                let is_fahrenheit = unit.contains("degF");
                set(&mut self.vitals, if is_fahrenheit { (number - 32.0) / 1.8 } else { number });
                Ok(())
            }
            _ => Err(format!("OBX-5 of {code} must be a number from 0 to 999, not {value:.20?}")),
        }
    }

    /// Ends the observation that is under way, if there is one.
    fn end(&mut self, feed: &mut Feed) {
        let vitals = std::mem::take(&mut self.vitals);
        if std::mem::take(&mut self.has_vitals)
            && let Some(time) = self.observed_at.or(self.sent_at)
        {
            feed.observations.push(Observation { patient: self.patient.clone(), time, vitals });
        }
    }
}

fn time_or_nothing(field: &str, text: &str) -> Result<Option<i64>, String> {
    match text {
        "" => Ok(None),
        text => match time::parse(text) {
            Some(time) => Ok(Some(time)),
            None => Err(format!("{field} must be a time like 20240115203000, not {text:.30?}")),
        },
    }
}

fn write_message(out: &mut impl Write, number: usize, observation: &Observation) -> std::io::Result<()> {
    let Observation { patient, time, vitals } = observation;
    let time = time::text(*time);
    write!(out, "MSH|^~\\&|MONITOR|WARD|OTTLA|WARD|{time}||ORU^R01^ORU_R01|{number}|P|2.6\r")?;
    write!(out, "PID|1||{patient}^^^WARD^MR\rPV1|1|I|WARD^^{patient}\r")?;
    write!(out, "OBR|1|||85353-1^Vital signs panel^LN|||{time}\r")?;
    let number = |value: Option<u16>| value.map(|value| value.to_string());
    let oxygen = vitals.on_oxygen.map(|on_oxygen| if on_oxygen { "2" } else { "0" }.to_owned());
    let alert = vitals.is_alert.map(|is_alert| if is_alert { "A^Alert" } else { "V^Voice" }.to_owned());
    let temperature = vitals.temperature.map(|tenths| format!("{:.1}", f64::from(tenths) / 10.0));
    let lines = [
        ("NM", "9279-1^Respiratory rate^LN", number(vitals.respiration), "/min"),
        ("NM", "59408-5^Oxygen saturation^LN", number(vitals.saturation), "%"),
        ("NM", "8867-4^Heart rate^LN", number(vitals.pulse), "/min"),
        ("NM", "8480-6^Systolic blood pressure^LN", number(vitals.systolic), "mm[Hg]"),
        ("NM", "8310-5^Body temperature^LN", temperature, "Cel"),
        ("NM", "3151-8^Inhaled oxygen flow rate^LN", oxygen, "L/min"),
        ("CWE", "67775-7^Level of responsiveness^LN", alert, ""),
    ];
    // A monitor reports each of its signals, whether or not it has a value.
    let shown = lines.iter().enumerate().filter(|(n, (_, _, value, _))| *n < 3 || value.is_some());
    for (set, (_, (kind, code, value, unit))) in (1..).zip(shown) {
        let (value, status) = value.as_ref().map_or(("", "X"), |value| (value.as_str(), "F"));
        write!(out, "OBX|{set}|{kind}|{code}||{value}|{unit}|||||{status}\r")?;
    }
    Ok(())
}

/// Sets what a code is for.
type Set = fn(&mut Vitals, f64);

const CONSCIOUSNESS: &str = "67775-7";
const CODES: [(&str, Set); 11] = [
    ("9279-1", |vitals, value| vitals.respiration = Some(value.round() as u16)),
    ("59408-5", |vitals, value| vitals.saturation = Some(value.round() as u16)),
    ("2708-6", |vitals, value| vitals.saturation = Some(value.round() as u16)),
    ("8867-4", |vitals, value| vitals.pulse = Some(value.round() as u16)),
    // Of the oximeter, if the electrocardiograph has none.
    ("8889-8", |vitals, value| vitals.pulse = vitals.pulse.or(Some(value.round() as u16))),
    ("8480-6", |vitals, value| vitals.systolic = Some(value.round() as u16)),
    ("8310-5", |vitals, value| vitals.temperature = Some((value * 10.0).round() as u16)),
    ("3151-8", |vitals, value| vitals.on_oxygen = Some(value > 0.0)),
    ("3150-6", |vitals, value| vitals.on_oxygen = Some(value > 21.0)),
    (CONSCIOUSNESS, |_, _| {}),
    ("80288-4", |vitals, value| vitals.is_alert = Some(value >= 15.0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn observations(text: &str) -> Result<Vec<(String, i64, Vitals)>, Failure> {
        let mut feed = Feed::default();
        read(Path::new("ward.hl7"), text, &mut feed)?;
        Ok(feed.observations.into_iter().map(|each| (each.patient, each.time, each.vitals)).collect())
    }

    const MESSAGES: &str = "MSH|^~\\&|A|B|C|D|19700101000010||ORU^R01|1|P|2.5\rPID|1||X^^^W~Y\rNTE|1|what\r\
        OBR|1||||||19700101000020\rOBX|1|NM|8867-4^Heart rate^LN||72|/min\r\
        OBX|2|NM|8310-5||98.6|[degF]\rOBX|3|NM|59408-5|||%|||||X\rOBX|4|ST|1234-5||text\r\
        MSH|^~\\&|A|B|C|D|19700101000030||ADT^A01|2|P|2.5\rPID|1||X\r\
        MSH|^~\\&|A|B|C|D|19700101000040||ORU^R01^ORU_R01|3|P|2.5\rPID|1||Z\r\
        OBX|1|CWE|67775-7||V^Voice\rOBX|2|NM|9279-1||15.5\r";

    #[test]
    fn segments_may_end_in_three_ways_and_what_is_not_known_is_passed_over() -> Result<(), Failure> {
        let first = Vitals { pulse: Some(72), temperature: Some(370), ..Vitals::default() };
        let second = Vitals { respiration: Some(16), is_alert: Some(false), ..Vitals::default() };
        let expected = vec![("X".to_owned(), 20_000, first), ("Z".to_owned(), 40_000, second)];
        for end in ["\r", "\n", "\r\n"] {
            assert_eq!(observations(&MESSAGES.replace('\r', end))?, expected);
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let failure = observations(&MESSAGES.replace("15.5", "1e99")).expect_err("no number for a breath");
        assert!(failure.to_string().starts_with("ward.hl7: line 14: OBX-5 of 9279-1"), "{failure}");
        let failure = observations("PID|1||X\r").expect_err("there is no message");
        assert!(failure.to_string().contains("must begin with MSH"), "{failure}");
    }
}
