//! Schedules of a tenant's jobs, as the operator hands them to the worker. Times are UTC.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A job that is queued again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    pub name: String,
    pub cron: Cron,
    /// The kind of the job.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// When a schedule is due: minute, hour, day of the month, month, day of the week, as in crontab(5) with numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    /// Bit n: n is in the field.
    fields: [u64; 5],
    /// Where both days are restricted, either is enough.
    either_day: bool,
}

/// The text is no [`Cron`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no schedule: write five fields, minute (0-59) hour (0-23) day (1-31) month (1-12) weekday (0-7), each *, a number, a range, a list or a step, such as \"0 3 * * *\""
)]
pub struct InvalidCron(String);

const RANGES: [RangeInclusive<u32>; 5] = [0..=59, 0..=23, 1..=31, 1..=12, 0..=7];

/// Minutes of a day.
const DAY: u64 = 24 * 60;
/// Days within which a schedule is due, if it ever is: a 29th of February on a certain weekday may be 40 years away.
const DAYS_LOOKED_AT: u64 = 41 * 366;

impl Cron {
    /// Whether it is due in a minute, counted from 1970-01-01T00:00Z.
    pub fn is_due(&self, minute: u64) -> bool {
        self.is_day(minute / DAY) && self.has(0, minute % 60) && self.has(1, minute / 60 % 24)
    }

    /// The first minute behind this one in which it is due; none: it never is.
    pub fn next_after(&self, minute: u64) -> Option<u64> {
        let first = minute.checked_add(1)?;
        (first / DAY..first / DAY + DAYS_LOOKED_AT)
            .filter(|day| self.is_day(*day))
            .flat_map(|day| day * DAY..(day + 1) * DAY)
            .find(|candidate| *candidate >= first && self.is_due(*candidate))
    }

    fn is_day(&self, days: u64) -> bool {
        let (month, day) = civil(days);
        // 1970-01-01 was a Thursday.
        let weekday = (days + 4) % 7;
        let (by_day, by_weekday) = (self.has(2, day), self.has(4, weekday));
        let day_fits = if self.either_day { by_day || by_weekday } else { by_day && by_weekday };
        self.has(3, month) && day_fits
    }

    fn has(&self, field: usize, value: u64) -> bool {
        self.fields[field] & (1 << value) != 0
    }
}

/// Month and day of a day, counted from 1970-01-01, in the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil(days: u64) -> (u64, u64) {
    let days = days + 719_468;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day)
}

/// The values of a field as bits.
fn field(text: &str, range: &RangeInclusive<u32>) -> Option<u64> {
    let number = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|it| digits && range.contains(it))
    };
    let mut bits = 0;
    for item in text.split(',') {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, step.parse::<usize>().ok().filter(|it| (1..=59).contains(it))?),
            None => (item, 1),
        };
        let (first, last) = match span.split_once('-') {
            _ if span == "*" => (*range.start(), *range.end()),
            Some((first, last)) => (number(first)?, number(last)?),
            // With a step, from there to the end.
            None if step > 1 => (number(span)?, *range.end()),
            None => (number(span)?, number(span)?),
        };
        if first > last {
            return None;
        }
        bits |= (first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value);
    }
    Some(bits)
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCron(text.to_owned());
        let parts: Vec<&str> = text.split_whitespace().collect();
        let parts: [&str; 5] = parts.try_into().map_err(|_| invalid())?;
        let mut fields = [0; 5];
        for ((bits, part), range) in fields.iter_mut().zip(parts).zip(&RANGES) {
            *bits = field(part, range).ok_or_else(invalid)?;
        }
        // Sunday is 0 and 7.
        if fields[4] & (1 << 7) != 0 {
            fields[4] |= 1;
        }
        let either_day = !parts[2].starts_with('*') && !parts[4].starts_with('*');
        Ok(Self { text: text.to_owned(), fields, either_day })
    }
}

impl TryFrom<String> for Cron {
    type Error = InvalidCron;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29T03:15Z, a Thursday.
    const LEAP_DAY: u64 = 1_709_176_500 / 60;

    #[test]
    fn a_schedule_is_due_when_its_fields_say_so() {
        for due in [
            "15 3 29 2 4",
            "*/5 * * * *",
            "15 3 * * *",
            "0-15/15 3 * 1-3 *",
            "10,15 3 * * 4",
            "15 3 1 * 4",
            "15/10 3 * * *",
        ] {
            assert!(due.parse::<Cron>().unwrap().is_due(LEAP_DAY), "{due}");
        }
        for not in ["16 3 * * *", "15 4 * * *", "15 3 1 * *", "15 3 * * 5", "15 3 * 3 *", "*/10 * * * *"] {
            assert!(!not.parse::<Cron>().unwrap().is_due(LEAP_DAY), "{not}");
        }
    }

    #[test]
    fn the_next_minute_is_the_first_that_is_due() {
        let next = |text: &str, minute| text.parse::<Cron>().unwrap().next_after(minute);
        assert_eq!(next("* * * * *", LEAP_DAY), Some(LEAP_DAY + 1));
        assert_eq!(next("15 3 * * *", LEAP_DAY), Some(LEAP_DAY + DAY), "behind it, not in it");
        assert_eq!(next("15 3 29 2 *", LEAP_DAY), Some(LEAP_DAY + 1461 * DAY));
        // A leap day that is a Sunday.
        assert_eq!(next("15 3 29 2 */7", LEAP_DAY).map(|minute| (minute / DAY + 4) % 7), Some(0));
        assert_eq!(next("0 0 30 2 *", LEAP_DAY), None);
        assert_eq!(next("* * * * *", u64::MAX), None);
        for text in ["*/7 1-3 1,15 * *", "59 23 31 12 *", "0 0 * 2 1", "5 4 1 * 0"] {
            let cron: Cron = text.parse().unwrap();
            let found = cron.next_after(LEAP_DAY).unwrap();
            assert!((LEAP_DAY + 1..found).all(|minute| !cron.is_due(minute)) && cron.is_due(found), "{text}");
        }
    }

    #[test]
    fn sunday_is_zero_and_seven() {
        let sunday = LEAP_DAY + 3 * 24 * 60;
        assert!("15 3 * * 0".parse::<Cron>().unwrap().is_due(sunday));
        assert!("15 3 * * 7".parse::<Cron>().unwrap().is_due(sunday));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_how_one_is_written() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-3 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@daily",
            "1, * * * *",
            "+1 * * * *",
        ] {
            let error = wrong.parse::<Cron>().unwrap_err();
            assert!(error.to_string().contains("such as \"0 3 * * *\""), "{wrong}");
        }
    }

    #[test]
    fn a_schedule_survives_the_way_to_the_worker() {
        let text = r#"{"name":"nightly","cron":"0 3 * * *","kind":"kv.export","payload":{"prefix":"a"}}"#;
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&schedule).unwrap(), text);
    }
}
