//! What every engine behind [`Store`] must do: one suite, run against each.
//!
//! An engine's own tests call `store_suite!` with an expression that makes a
//! [`Place`]. Time is an argument throughout: no test waits for a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::Arc;

use async_trait::async_trait;

use super::Store;

pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod browsers;
pub(super) mod challenges;
pub(super) mod codes;
pub(super) mod creation;
pub(super) mod events;
pub(super) mod expiry;
pub(super) mod fixture;
pub(super) mod guarding;
pub(super) mod hints;
pub(super) mod import;
pub(super) mod installation;
pub(super) mod outbox;
pub(super) mod registration;
pub(super) mod reopening;
pub(super) mod retention;
pub(super) mod texts;

/// Where a store lives, empty at first.
#[async_trait]
pub(super) trait Place: Send + Sync {
    /// Opens what is there. One at a time: the last must be closed.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each check, run against the places that `$place` makes.
macro_rules! store_suite {
    ($place:expr) => {
        $crate::store::suite::tests_of!($place, accounts: [
            a_number_counts_once_it_is_confirmed,
            wrong_codes_take_an_unproven_number_away,
            texts_are_capped_and_a_row_of_neighbours_alarms,
            a_removed_number_takes_its_codes_along,
            what_is_added_or_removed_is_told,
            nobody_signs_in_to_a_locked_account,
            a_reset_takes_everything_away,
            prompts_are_rationed,
            answers_count_for_the_account,
        ]);
        $crate::store::suite::tests_of!($place, challenges: [
            of_many_events_one_decides,
            nothing_is_decided_for_another_organisation,
            only_a_device_that_was_asked_decides,
            a_superseded_challenge_or_an_answered_one,
            a_removed_device_or_an_answer,
            removal_leaves_what_others_can_answer,
            progress_never_goes_back_nor_changes_a_decision,
            a_gateways_long_reason_fits,
        ]);
        $crate::store::suite::tests_of!($place, codes: [
            of_many_right_codes_one_decides,
            no_more_codes_are_compared_than_permitted,
            a_code_or_an_answer,
            a_step_of_an_app_is_accepted_once,
            a_recovery_code_is_used_up,
            waits_go_across_challenges,
            too_many_failures_lock_the_account,
            silence_turns_into_a_text,
            the_fallback_ends_with_the_challenge,
            a_refused_fallback_is_final,
            a_resend_keeps_the_count,
            back_to_the_prompt,
            a_challenge_by_code_alone,
        ]);
        $crate::store::suite::tests_of!($place, browsers: [
            a_browser_is_remembered_only_by_a_wanted_approval,
            of_many_uses_of_a_token_one_approves,
            each_use_gives_the_next_token,
            a_used_token_ends_its_browser,
            what_takes_trust_away_forgets_browsers,
            other_rules_and_time_end_it,
            a_browser_is_its_users,
            a_locked_account_has_no_browsers,
            nobody_is_asked_and_nothing_else_ends,
            the_oldest_browser_leaves,
            approvals_teach_where_the_user_is,
        ]);
        $crate::store::suite::tests_of!($place, creation: [
            the_same_request_makes_one_challenge,
            other_content_is_a_conflict,
            a_refused_request_leaves_nothing_behind,
            one_pending_challenge_per_user,
            a_device_removed_meanwhile_is_not_asked,
        ]);
        $crate::store::suite::tests_of!($place, events: [
            each_organisation_has_its_own_events,
            no_event_is_missed_or_doubled,
            events_leave_with_their_entries,
            an_approval_is_taken_back_once_and_stays,
            taking_back_locks_where_policy_says_so,
            approvals_are_shown_to_the_others,
            the_other_devices_are_told,
            old_notices_go,
        ]);
        $crate::store::suite::tests_of!($place, expiry: [
            an_answer_or_the_end_of_time,
            the_sweep_takes_the_earliest_first_and_no_more,
            many_may_end_at_once,
            time_up_is_nobodys_doing,
        ]);
        $crate::store::suite::tests_of!($place, guarding: [
            a_lock_or_a_reset_ends_an_open_ticket,
            nothing_is_added_to_a_locked_account,
            an_operator_s_lock_stands,
            what_policy_forbids_no_longer_decides,
            a_late_report_is_heeded,
            an_unproven_number_begins_anew,
            a_superseded_text_says_nothing_of_the_next,
            only_texts_that_went_out_count,
            an_app_is_asked_before_giving_up,
            what_waits_for_a_removed_app_goes_back,
        ]);
        $crate::store::suite::tests_of!($place, hints: [
            a_hint_comes_when_the_change_can_be_read,
            each_change_has_its_hint,
            going_on_has_its_hints,
        ]);
        $crate::store::suite::tests_of!($place, import: [
            an_import_may_be_repeated,
            of_many_equal_imports_one_counts,
            all_are_imported_or_none,
            a_removed_device_stays_removed,
            imports_are_told_like_enrolments,
            many_at_once,
        ]);
        $crate::store::suite::tests_of!($place, installation: [
            pages_of_organisations,
            a_key_is_revoked_once_and_within_scope,
            signing_keys_oldest_first,
            of_two_changes_of_rules_one_counts,
        ]);
        $crate::store::suite::tests_of!($place, outbox: [
            a_push_is_never_given_twice,
            a_push_comes_again_at_its_time,
            gateways_do_not_share,
            an_ended_challenge_is_withdrawn,
            a_prompt_that_comes_too_late_is_withdrawn,
            the_last_failure_ends_it,
        ]);
        $crate::store::suite::tests_of!($place, registration: [
            a_ticket_is_redeemed_once,
            wrong_codes_lock_a_ticket,
            a_new_ticket_replaces_the_open_one,
            a_locator_finds_the_newest_ticket_and_the_other_dies,
            too_many_devices,
            a_token_is_cleared_only_if_it_is_the_one_that_died,
            a_doubtful_token_is_kept_aside,
            removal_needs_the_owner,
        ]);
        $crate::store::suite::tests_of!($place, reopening: [
            everything_is_given_back,
            claims_are_forgotten_and_pushes_given_again,
            a_closed_store_takes_nothing,
        ]);
        $crate::store::suite::tests_of!($place, texts: [
            a_text_is_given_once_and_again_at_its_time,
            a_code_s_progress_is_noted,
            the_last_text_to_fail_ends_it,
        ]);
        $crate::store::suite::tests_of!($place, audit: [
            pages_follow_one_another_in_a_chain,
            a_digest_tells_nothing,
            heads_are_kept,
            each_entry_has_its_hint,
        ]);
        $crate::store::suite::tests_of!($place, retention: [
            decided_challenges_leave_and_pending_ones_stay,
            a_request_is_forgotten_with_its_challenge,
            tickets_leave_after_their_end,
            many_leave_in_steps_and_a_restart_goes_on,
            audit_entries_leave_up_to_a_signed_head,
        ]);
    };
}

macro_rules! tests_of {
    ($place:expr, $module:ident: [$($name:ident),* $(,)?]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    $crate::store::suite::$module::$name(&$place).await;
                }
            )*
        }
    };
}

pub(super) use {store_suite, tests_of};
