//! The phone is not at hand: a code is typed instead.

use countersign_proto::v1::Challenge;

use super::{Decided, End, Flow};
use crate::load::tenant::Tenant;

impl Flow {
    pub(super) async fn other_way(
        &self,
        tenant: &Tenant,
        challenge: Challenge,
    ) -> Result<Decided, End> {
        self.decision(tenant, &challenge).await
    }
}
