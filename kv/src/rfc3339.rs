//! Times as RFC 3339 has them, in UTC and to the microsecond. Each entry of an answer has two.

use std::cell::Cell;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};

const MICROSECONDS: u64 = 1_000_000;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;
/// Length of `2026-11-22`.
const DATE: usize = 10;
const WHOLE_SECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(0));

thread_local! {
    /// The day that was written last, and its date: entries that are read together are mostly of few days, and a calendar is most
    /// of the work.
    static LAST: Cell<Option<(u64, [u8; DATE])>> = const { Cell::new(None) };
}

/// Writes nothing for a time after the year 9999.
pub(crate) fn push_time(text: &mut String, microseconds: u64) {
    let (seconds, fraction) = (microseconds / MICROSECONDS, microseconds % MICROSECONDS);
    let Some(date) = date(seconds / SECONDS_A_DAY) else { return };
    let second = seconds % SECONDS_A_DAY;
    let mut time = *b"0000-00-00T00:00:00.000000Z";
    time[..DATE].copy_from_slice(&date);
    put(&mut time[11..13], second / 3600);
    put(&mut time[14..16], second / 60 % 60);
    put(&mut time[17..19], second % 60);
    put(&mut time[20..26], fraction);
    // Digits and signs are ASCII.
    text.push_str(str::from_utf8(&time).unwrap_or_default());
}

/// The last digits of a number.
fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn date(day: u64) -> Option<[u8; DATE]> {
    if let Some((last, date)) = LAST.get()
        && last == day
    {
        return Some(date);
    }
    let time = Timestamp::from_second(i64::try_from(day * SECONDS_A_DAY).ok()?).ok()?;
    let mut text = String::new();
    WHOLE_SECONDS.print_timestamp(&time, &mut text).ok()?;
    let date = *text.as_bytes().first_chunk()?;
    LAST.set(Some((day, date)));
    Some(date)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(microseconds: u64) -> String {
        let mut text = String::new();
        push_time(&mut text, microseconds);
        text
    }

    proptest! {
        #[test]
        fn a_time_is_written_as_the_library_of_times_does(microseconds in 0..253_402_207_200_000_000_u64) {
            let printer = DateTimePrinter::new().precision(Some(6));
            let time = Timestamp::from_microsecond(i64::try_from(microseconds).unwrap()).unwrap();
            let mut expected = String::new();
            printer.print_timestamp(&time, &mut expected).unwrap();
            // Also where the day was the last one.
            prop_assert_eq!((written(microseconds), written(microseconds)), (expected.clone(), expected));
        }
    }

    #[test]
    fn a_time_that_no_calendar_has_is_left_out() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(written(1_795_352_834_123_456), "2026-11-22T13:07:14.123456Z");
        assert_eq!(written(u64::MAX), "");
    }
}
