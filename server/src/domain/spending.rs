//! What text messages may cost: counters per number, range and organisation.
//! Numbers and ranges are known here by keyed hashes only.

use std::time::Duration;

use super::{code::Cap, code::CodeRefusal, policy, time::Timestamp};

/// Stands for a number or a range: a keyed hash of it.
pub type Tag = [u8; 16];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Counts sends within the hour and the day that began with the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// When the hour began.
    pub hour_start: Timestamp,
    /// Sends since.
    pub hour: u32,
    /// When the day began.
    pub day_start: Timestamp,
    /// Sends since.
    pub day: u32,
}

impl Meter {
    /// Counts one more, if it is within both limits.
    ///
    /// # Errors
    /// When it is not: the time from which there is room.
    pub fn admit(&mut self, now: Timestamp, per_hour: u32, per_day: u32) -> Result<(), Timestamp> {
        if now.since(self.hour_start) >= HOUR {
            (self.hour_start, self.hour) = (now, 0);
        }
        if now.since(self.day_start) >= DAY {
            (self.day_start, self.day) = (now, 0);
        }
        let day = (self.day >= per_day).then(|| self.day_start.after(DAY));
        let hour = (self.hour >= per_hour).then(|| self.hour_start.after(HOUR));
        if let Some(until) = day.max(hour) {
            return Err(until);
        }
        self.hour = self.hour.saturating_add(1);
        self.day = self.day.saturating_add(1);
        Ok(())
    }
}

/// The different numbers of one range that were texted within an hour: a row
/// of neighbours is what SMS pumping looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeMeter {
    /// When the hour began.
    pub since: Timestamp,
    /// The numbers since.
    pub numbers: Vec<Tag>,
}

/// Numbers that a range meter remembers: what the policy allows at most, and it
/// must fit in one stored value.
const MAX_REMEMBERED: usize = 200;

impl RangeMeter {
    /// Counts `number`. `true`: with it the range has become suspicious.
    ///
    /// # Errors
    /// When there are too many: the time from which there is room.
    pub fn admit(
        &mut self,
        number: Tag,
        now: Timestamp,
        rules: &policy::Sms,
    ) -> Result<bool, Timestamp> {
        if now.since(self.since) >= HOUR {
            (self.since, self.numbers) = (now, Vec::new());
        }
        if self.numbers.contains(&number) {
            return Ok(false);
        }
        let most = usize::try_from(rules.per_range_hour)
            .unwrap_or(usize::MAX)
            .min(MAX_REMEMBERED);
        if self.numbers.len() >= most {
            return Err(self.since.after(HOUR));
        }
        self.numbers.push(number);
        Ok(u32::try_from(self.numbers.len()).ok() == Some(rules.range_alarm))
    }
}

/// The meters that one text runs through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    /// Of the number.
    pub number: Meter,
    /// Of its range.
    pub range: RangeMeter,
    /// Of the organisation.
    pub tenant: Meter,
}

impl Meters {
    /// Counts one text to `number`. `true`: its range has become suspicious.
    /// Only when all limits hold are the meters to be kept.
    ///
    /// # Errors
    /// [`CodeRefusal::Capped`].
    pub fn admit(
        &mut self,
        number: Tag,
        now: Timestamp,
        rules: &policy::Sms,
    ) -> Result<bool, CodeRefusal> {
        self.number
            .admit(now, rules.per_number_hour, rules.per_number_day)
            .map_err(|until| CodeRefusal::Capped(Cap::Number, until))?;
        let alarm = self
            .range
            .admit(number, now, rules)
            .map_err(|until| CodeRefusal::Capped(Cap::Range, until))?;
        self.tenant
            .admit(now, u32::MAX, rules.per_tenant_day)
            .map_err(|until| CodeRefusal::Capped(Cap::Tenant, until))?;
        Ok(alarm)
    }
}

#[cfg(test)]
#[path = "spending_tests.rs"]
mod tests;
