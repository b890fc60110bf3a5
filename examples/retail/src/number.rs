//! Decimal numbers as whole ones.

/// `"12.5"` with four decimals is 125,000. More decimals than that are cut off, as in `0.10000000000000001`,
/// but a whole number has none.
pub(crate) fn scaled(text: &str, decimals: usize) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if decimals == 0 && fraction.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(decimals)];
    let number: i64 = format!("{whole}{fraction:0<decimals$}").parse().ok()?;
    Some(sign * number)
}

/// The other way round: 125,000 with four decimals is `"12.5"`, with at least `least` decimals.
pub(crate) fn decimal(number: i64, decimals: usize, least: usize) -> String {
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = format!("{:0<least$}", fraction.trim_end_matches('0'));
    let sign = if number < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_whole_numbers_and_back() {
        for (text, number) in [("12.5", 125_000), ("-0.001", -10), ("38970", 389_700_000), (".5", 5_000)] {
            assert_eq!(scaled(text, 4), Some(number), "{text}");
        }
        assert_eq!(scaled("0.10000000000000001", 4), Some(1_000));
        for text in ["", ".", "-", "1,5", "1e3", "1.2.3", "--1", "99999999999999999999"] {
            assert_eq!(scaled(text, 4), None, "{text}");
        }
        assert_eq!((scaled("12.0", 0), scaled("12.7", 0)), (Some(12), None));
        assert_eq!(decimal(125_000, 4, 2), "12.50");
        assert_eq!(decimal(-10, 4, 2), "-0.001");
        assert_eq!(decimal(389_700_000, 4, 0), "38970");
    }
}
