//! Times as HL7 writes them, `20240115203000`, with fractions of a second and an offset from UTC if there is
//! one.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Milliseconds since 1970; `None` if it is no time or before that. A time without an offset is in UTC.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (time, offset) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], offset_seconds(&text[at..])?),
        None => (text, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if time.len() < 8 || !time.len().is_multiple_of(2) || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part =
        |from: usize, to: usize| time.get(from..to).map_or(Some(0), |digits| digits.parse::<i8>().ok());
    let year = time[..4].parse::<i16>().ok()?;
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let time = DateTime::new(year, part(4, 6)?, part(6, 8)?, hour, minute, second, 0).ok()?;
    let fraction = format!("0.{fraction}").parse::<f64>().ok()?;
    let millis = Offset::UTC.to_timestamp(time).ok()?.as_millisecond() + (fraction * 1e3).round() as i64;
    Some(millis - offset * 1_000).filter(|millis| *millis >= 0)
}

/// Of `+0130`.
fn offset_seconds(text: &str) -> Option<i64> {
    let digits = text.get(1..5).filter(|_| text.len() == 5)?;
    let digits: i64 = digits.parse().ok()?;
    let seconds = digits / 100 * 3_600 + digits % 100 * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// As HL7 writes it, to the second.
pub(crate) fn text(millis: i64) -> String {
    let time = moment(millis);
    let (year, month, day) = (time.year(), time.month(), time.day());
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", time.hour(), time.minute(), time.second())
}

/// For people.
pub(crate) fn readable(millis: i64) -> String {
    moment(millis).to_string()
}

fn moment(millis: i64) -> DateTime {
    // Every time here was parsed, or is a little later than one that was.
    Offset::UTC.to_datetime(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_hl7_writes_them() {
        assert_eq!(parse("19700101"), Some(0));
        assert_eq!(parse("19700102000001"), Some(86_401_000));
        assert_eq!(parse("19700102000001.25"), Some(86_401_250));
        assert_eq!(parse("197001020100+0100"), Some(86_400_000));
        assert_eq!(text(86_401_000), "19700102000001");
        for wrong in
            ["", "1970", "19701301", "1970010x", "197001020100+01", "19691231235959", "1970010201000"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
