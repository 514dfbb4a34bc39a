//! What the broker counts, as read from its HTTP port.

use super::BenchError;
use crate::fetch::get_text;

/// Totals since the broker's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Challenges decided, whichever way.
    pub(super) decided: u64,
    /// Commands of the store.
    pub(super) commands: u64,
    /// Syncs of the store's log.
    pub(super) syncs: u64,
    /// Bytes of keys and values written.
    pub(super) bytes: u64,
}

impl Counts {
    /// What was added since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            decided: self.decided.saturating_sub(before.decided),
            commands: self.commands.saturating_sub(before.commands),
            syncs: self.syncs.saturating_sub(before.syncs),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// Reads them from a broker's HTTP port.
pub(super) async fn read(http: &str) -> Result<Counts, BenchError> {
    let text = get_text(&format!("{http}/metrics"))
        .await
        .map_err(BenchError::part("the broker's metrics"))?;
    Ok(Counts {
        decided: sum(&text, "countersign_challenges_decided_total"),
        commands: sum(&text, "countersign_store_commands_total"),
        syncs: sum(&text, "countersign_store_syncs_total"),
        bytes: sum(&text, "countersign_store_bytes_total"),
    })
}

/// The sum of a metric over all its labels.
fn sum(text: &str, name: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_longer_names_left_out() {
        let text = "# HELP a_total x\na_total{x=\"1\"} 3\na_total{x=\"2 }\"} 4\na_total_more 9\na_total 1\n";
        assert_eq!(sum(text, "a_total"), 8);
        assert_eq!(sum(text, "b_total"), 0);
    }
}
