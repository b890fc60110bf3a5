//! The web shop's access log, one line a request, in Apache's Combined Log Format; the Common one, which has
//! no referer and agent, will do. Published as it is: the codec is `String`.
//!
//! The format: <https://httpd.apache.org/docs/2.4/logs.html#accesslog>

use fastrand::Rng;
use jiff::Timestamp;
use jiff::fmt::strtime;

use crate::area::{Event, Times, lines};
use crate::generate::{self, is_one_of};

const TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

pub(crate) fn read(bytes: &[u8]) -> Vec<Event<String>> {
    let mut times = Times::default();
    let event = |line: &[u8]| {
        let text = str::from_utf8(line).map(str::to_owned).map_err(|_| line.to_vec());
        let known = text.as_deref().unwrap_or_default();
        let key = known.split(' ').next().unwrap_or_default().to_owned();
        Event { key, time: times.next(time_of(known)), value: text }
    };
    lines(bytes).map(event).collect()
}

fn time_of(line: &str) -> Option<Timestamp> {
    let (_, rest) = line.split_once('[')?;
    let (time, _) = rest.split_once(']')?;
    strtime::parse(TIME, time).ok()?.to_timestamp().ok()
}

/// The status of the answer, of a line that is whole.
pub(crate) fn status(line: &str) -> Result<u16, String> {
    time_of(line).ok_or("it has no time in brackets")?;
    // Quotes inside of quotes are escaped.
    let (_, rest) = line.split_once("] \"").ok_or("it has no request in quotes")?;
    let end = end_of_quoted(rest).ok_or("its request does not end")?;
    let mut fields = rest[end + 1..].trim_start().splitn(3, ' ');
    let status = fields.next().unwrap_or_default();
    let size = fields.next().unwrap_or_default();
    let is_size = size == "-" || (!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit()));
    let is_rest_whole = fields.next().is_none_or(has_two_quoted);
    match status.parse() {
        Ok(status) if (100..600).contains(&status) && is_size && is_rest_whole => Ok(status),
        _ => Err("expected status, size, \"referer\" and \"agent\" after the request".to_owned()),
    }
}

/// Whether this begins with referer and agent; servers put more behind them.
fn has_two_quoted(text: &str) -> bool {
    let second =
        text.strip_prefix('"').and_then(|first| first[end_of_quoted(first)? + 1..].strip_prefix(" \""));
    second.is_some_and(|second| end_of_quoted(second).is_some())
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// A day of requests, some of them cut off in the middle of the line: the disk was full.
pub(crate) fn generate(rng: &mut Rng, count: usize) -> String {
    const PATHS: [&str; 6] = ["/", "/products", "/products/17", "/basket", "/checkout", "/favicon.ico"];
    let mut log = String::new();
    for time in generate::times(rng, count) {
        let time = time.strftime(TIME);
        let (host, path) = (rng.u8(1..250), PATHS[rng.usize(..PATHS.len())]);
        let status = if is_one_of(rng, 20) { 404 } else { 200 };
        let size = rng.u32(200..20_000);
        let line = format!(
            "203.0.113.{host} - - [{time}] \"GET {path} HTTP/1.1\" {status} {size} \
             \"https://shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
        );
        let whole = if is_one_of(rng, 250) { rng.usize(1..line.len()) } else { line.len() };
        log.extend([&line[..whole], "\n"]);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_apache_are_read() {
        let common = "127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a.gif HTTP/1.0\" 200 2326";
        let combined = format!("{common} \"http://www.example.com/\" \"Mozilla/4.08 [en] (Win98)\"");
        for line in [common, &combined] {
            assert_eq!(status(line), Ok(200));
            let event = read(line.as_bytes()).pop().map(|event| (event.key, event.time.as_millis()));
            assert_eq!(event, Some(("127.0.0.1".to_owned(), 971_211_336_000)));
        }
        let quoted = r#"::1 - - [10/Oct/2000:13:55:36 -0700] "GET /\"x\" HTTP/1.0" 404 - "-" "a \"b\"""#;
        assert_eq!(status(quoted), Ok(404));
    }

    #[test]
    fn what_is_cut_off_or_no_log_is_unreadable() {
        let line = r#"::1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 17 "-" "agent""#;
        for cut in [0, 5, 30, 45, 54, 64, line.len() - 1] {
            assert!(status(&line[..cut]).is_err(), "{}", &line[..cut]);
        }
    }
}
