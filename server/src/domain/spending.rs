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

    /// Takes a send back that was counted at `then`, where it still counts.
    fn give_back(&mut self, then: Timestamp) {
        if self.hour_start <= then {
            self.hour = self.hour.saturating_sub(1);
        }
        if self.day_start <= then {
            self.day = self.day.saturating_sub(1);
        }
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

/// Codes that prove a number, per user who asks for them and hour: one for each
/// number that a user may have ([`super::account::MAX_PHONES`]). Nobody adds
/// numbers all day but who earns by texts.
pub const CONFIRMATIONS_PER_USER_HOUR: u32 = 5;
/// The same per day.
pub const CONFIRMATIONS_PER_USER_DAY: u32 = 10;

/// How long after it was added a number is looked at as one of a range: SMS
/// pumping is done with numbers that have just been added, while the numbers of
/// one company's phones are neighbours for good.
pub const RANGE_WATCHED: Duration = Duration::from_secs(7 * 86_400);

/// What a text is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A code for a sign-in, to a number added at this time.
    SignIn(Timestamp),
    /// A code that proves a number.
    Confirmation,
    /// A notice.
    Notice,
}

/// The meters that one text runs through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    /// Of the number, for texts of this kind only: nobody can use up by one kind
    /// what the others need.
    pub number: Meter,
    /// Of the user who asks for codes that prove numbers.
    pub user: Meter,
    /// Of the number's range.
    pub range: RangeMeter,
    /// Of the organisation, for all but codes for sign-ins.
    pub others: Meter,
    /// Of the organisation.
    pub tenant: Meter,
}

impl Meters {
    /// Counts one text to `number`. `true`: its range has become suspicious.
    /// Only when all limits hold are the meters to be kept. Half of the
    /// organisation's day is kept for codes for sign-ins.
    ///
    /// # Errors
    /// [`CodeRefusal::Capped`].
    pub fn admit(
        &mut self,
        counted: Counted,
        number: Tag,
        now: Timestamp,
        rules: &policy::Sms,
    ) -> Result<bool, CodeRefusal> {
        let capped = |cap| move |until| CodeRefusal::Capped(cap, until);
        self.number
            .admit(now, rules.per_number_hour, rules.per_number_day)
            .map_err(capped(Cap::Number))?;
        let (hour, day) = (CONFIRMATIONS_PER_USER_HOUR, CONFIRMATIONS_PER_USER_DAY);
        let alarm = match counted {
            Counted::SignIn(added) if now.since(added) >= RANGE_WATCHED => false,
            Counted::Notice => false,
            Counted::SignIn(_) => self.admit_range(number, now, rules)?,
            Counted::Confirmation => {
                let user = self.user.admit(now, hour, day);
                user.map_err(capped(Cap::User))?;
                self.admit_range(number, now, rules)?
            }
        };
        match counted {
            Counted::SignIn(_) => {}
            Counted::Confirmation | Counted::Notice => self
                .others
                .admit(now, u32::MAX, rules.per_tenant_day.div_ceil(2))
                .map_err(capped(Cap::Tenant))?,
        }
        self.tenant
            .admit(now, u32::MAX, rules.per_tenant_day)
            .map_err(capped(Cap::Tenant))?;
        Ok(alarm)
    }

    fn admit_range(
        &mut self,
        number: Tag,
        now: Timestamp,
        rules: &policy::Sms,
    ) -> Result<bool, CodeRefusal> {
        let admitted = self.range.admit(number, now, rules);
        admitted.map_err(|until| CodeRefusal::Capped(Cap::Range, until))
    }

    /// Takes one text back that was counted at `then` and never went out. Its
    /// range keeps the number: numbers in a row that can't be texted are what
    /// guessing numbers looks like.
    pub fn give_back(&mut self, counted: Counted, then: Timestamp) {
        self.number.give_back(then);
        self.tenant.give_back(then);
        match counted {
            Counted::SignIn(_) => {}
            Counted::Confirmation => {
                self.user.give_back(then);
                self.others.give_back(then);
            }
            Counted::Notice => self.others.give_back(then),
        }
    }
}

#[cfg(test)]
#[path = "spending_tests.rs"]
mod tests;
