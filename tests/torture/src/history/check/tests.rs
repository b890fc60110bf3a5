//! Each anomaly is found by its name, and nothing is taken for one that is none.

use super::story::history;
use super::{Kind, check};

/// The kinds that are found, each once.
fn found(story: &str) -> Vec<Kind> {
    let anomalies = check(&history(story));
    let mut kinds: Vec<Kind> = anomalies.into_iter().map(|anomaly| anomaly.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

const CLEAN: [Kind; 0] = [];

#[test]
fn a_quiet_history_is_clean() {
    let story = "
        sent 0 4
        sent 1 2
        hand has 0 1
        a has 0 1
        hand polls 0 0-3
        a polls 0 0-1
        a polls 1 0-1
        a commits 0 2
        a commits 1 2
        hand polls 1 0-1
        a polls 0 2-3
        a commits 0 4
        hand drained
        a closed";
    assert_eq!(found(story), CLEAN);
}

#[test]
fn a_rebalance_alone_is_clean() {
    let story = "
        sent 0 4
        sent 1 2
        a has 0 1
        a polls 0 0-1
        a polls 1 0-1
        a commits 0 2
        a commits 1 2
        a gives 1
        b has 1
        a gives 0
        b has 0
        b polls 0 2-3
        b commits 0 4
        b closed
        a closed";
    assert_eq!(found(story), CLEAN);
}

#[test]
fn a_killed_member_accounts_for_what_it_had_in_hand() {
    let story = "
        sent 0 4
        a has 0
        a polls 0 0-1
        a commits 0 1
        a killed
        b has 0
        b polls 0 1-3
        b commits 0 4
        b closed";
    assert_eq!(found(story), CLEAN);
}

#[test]
fn an_evicted_member_accounts_for_what_it_had_in_hand() {
    let story = "
        sent 0 4
        a has 0
        a polls 0 0-1
        b has 0
        b polls 0 0-3
        b commits 0 4
        a fails-to-commit 0 2
        a loses 0
        a evicted
        a has 1
        a closed
        b closed";
    assert_eq!(found(story), CLEAN);
    let told_late = story.replace("a fails-to-commit 0 2", "");
    assert_eq!(found(&told_late), CLEAN);
    let killed = "
        sent 0 2
        a has 0
        a polls 0 0-1
        b has 0
        b polls 0 0-1
        a killed-while-away
        b commits 0 2";
    assert_eq!(found(killed), CLEAN);
}

#[test]
fn an_evicted_member_may_begin_again_with_what_it_had_in_hand() {
    let story = "
        sent 0 4
        a has 0
        a polls 0 0-1
        a loses 0
        a evicted
        a has 0
        a polls 0 0-3
        a commits 0 4
        a closed";
    assert_eq!(found(story), CLEAN);
}

#[test]
fn a_commit_of_unknown_outcome_accounts_for_both() {
    let again = "
        sent 0 2
        a has 0
        a polls 0 0-1
        a may-have-committed 0 2
        a gives 0
        b has 0
        b polls 0 0-1
        b commits 0 2
        b closed";
    assert_eq!(found(again), CLEAN);
    let once = "
        sent 0 2
        a has 0
        a polls 0 0-1
        a may-have-committed 0 2
        a closed";
    assert_eq!(found(once), CLEAN);
}

#[test]
fn what_nobody_knows_is_no_anomaly() {
    let unknown = "
        sent 0 1
        unknown p0#1
        unknown p0#2
        hand has 0
        hand polls 0 0-1
        hand drained
        a has 0
        a polls 0 0-1
        a commits 0 2";
    assert_eq!(found(unknown), CLEAN);
    // The steps leave it open who was first: the poll of the one who was killed may have been.
    let late = "
        sent 0 2
        [10-12] a has 0
        [13-40] a polls 0 0-1
        [18-41] a killed-while-away
        [19-20] b has 0
        [21-24] b polls 0 0-1
        [25-30] b commits 0 2";
    assert_eq!(found(late), CLEAN);
}

#[test]
fn two_values_at_one_offset_are_inconsistent() {
    let by_readers = "
        unknown p0#0
        unknown p0#1
        hand1 has 0
        hand2 has 0
        hand1 polls 0 0
        hand2 polls 0 0=p0#1";
    assert_eq!(found(by_readers), [Kind::Inconsistent]);
    let by_acknowledgement = "
        sent p0#0 @ 0 0
        unknown p0#1
        hand has 0
        hand polls 0 0=p0#1";
    // The one that was acknowledged is not the one that was read.
    assert_eq!(found(by_acknowledgement)[..1], [Kind::Lost]);
    assert!(found(by_acknowledgement).contains(&Kind::Inconsistent));
}

#[test]
fn one_value_at_two_offsets_is_inconsistent() {
    let story = "
        unknown p0#0
        hand has 0
        hand polls 0 0
        hand polls 0 1=p0#0";
    assert_eq!(found(story), [Kind::Inconsistent]);
}

#[test]
fn a_polled_value_whose_send_failed_is_inconsistent() {
    let refused = "
        refused p0#0
        hand has 0
        hand polls 0 0";
    assert_eq!(found(refused), [Kind::Inconsistent]);
    assert_eq!(found(&refused.replace("refused p0#0", "")), [Kind::Inconsistent], "nobody sent it");
}

#[test]
fn two_owners_of_a_partition_are_inconsistent() {
    let story = "
        a has 0 1
        b has 1
        a gives 1
        a closed
        b closed";
    assert_eq!(found(story), [Kind::Inconsistent]);
}

#[test]
fn a_poll_of_what_was_not_given_is_inconsistent() {
    let story = "
        unknown p0#0
        a has 0
        a gives 0
        a polls 0 0";
    assert_eq!(found(story), [Kind::Inconsistent]);
    assert_eq!(found("a gives 0"), [Kind::Inconsistent]);
    assert_eq!(found("a has 0\n a has 0"), [Kind::Inconsistent]);
}

#[test]
fn an_acknowledged_record_below_the_highest_that_nobody_polled_is_lost() {
    let group = "
        sent 0 3
        a has 0
        a polls 0 0
        a commits 0 1
        a gives 0
        b has 0
        b polls 0 2
        b commits 0 3
        b closed";
    assert_eq!(found(group), [Kind::Lost]);
}

#[test]
fn what_is_never_seen_at_the_end_is_lost() {
    let group = "
        sent 0 3
        a has 0
        a polls 0 0-1
        a commits 0 2
        a closed";
    assert_eq!(found(group), [Kind::Lost]);
    assert_eq!(found("sent 1 1"), [Kind::Lost], "a partition that nobody was given");
    let by_hand = "
        sent 0 3
        hand has 0
        hand polls 0 0-1
        hand drained
        a has 0
        a polls 0 0-2
        a commits 0 3";
    assert_eq!(found(by_hand), [Kind::Lost]);
}

#[test]
fn what_only_a_killed_member_had_is_lost() {
    let story = "
        sent 0 3
        a has 0
        a polls 0 0-1
        a killed
        b has 0
        b polls 0 2
        b commits 0 3
        b closed";
    assert_eq!(found(story), [Kind::Lost]);
}

#[test]
fn polls_that_skip_are_found() {
    let by_hand = "
        unknown p0#0
        unknown p0#2
        hand has 0
        hand polls 0 0
        hand polls 0 2";
    assert_eq!(found(by_hand), [Kind::Skipped]);
    assert_eq!(found(&by_hand.replace("hand polls 0 0", "")), [Kind::Skipped], "it begins with the first");
    assert_eq!(found(&by_hand.replace("hand", "a")), [Kind::Skipped]);
    let in_one_poll = "
        unknown p0#0
        unknown p0#2
        hand has 0
        hand polls 0 0 2";
    assert_eq!(found(in_one_poll), [Kind::Skipped]);
}

#[test]
fn polls_that_go_back_are_found() {
    let by_hand = "
        unknown p0#0
        unknown p0#1
        hand has 0
        hand polls 0 0-1
        hand polls 0 1";
    assert_eq!(found(by_hand), [Kind::Back]);
    assert_eq!(found(&by_hand.replace("hand", "a")), [Kind::Duplicated, Kind::Back]);
    let other_changes = "
        sent 0 2
        a has 0 1
        a polls 0 0
        a commits 0 1
        a gives 1
        a polls 0 0-1
        a commits 0 2";
    assert_eq!(found(other_changes), [Kind::Duplicated, Kind::Back], "what it kept goes on");
}

#[test]
fn a_later_send_before_an_earlier_one_is_reordered() {
    let story = "
        sent p0#1 @ 0 0
        sent p1#0 @ 0 1
        sent p0#0 @ 0 2
        hand has 0
        hand polls 0 0=p0#1 1=p1#0 2=p0#0
        a has 0
        a polls 0 0=p0#1 1=p1#0 2=p0#0
        a commits 0 3";
    assert_eq!(found(story), [Kind::Reordered]);
    let gap = "
        unknown p0#3
        unknown p1#0
        unknown p0#4
        hand has 0
        hand polls 0 0=p0#3 1=p1#0 2=p0#4";
    assert_eq!(found(gap), CLEAN, "some may be missing, or in another partition");
}

#[test]
fn a_record_that_two_members_processed_is_duplicated() {
    let rebalance = "
        sent 0 4
        a has 0
        a polls 0 0-1
        a gives 0
        b has 0
        b polls 0 0-3
        b commits 0 4
        b closed
        a closed";
    assert_eq!(found(rebalance), [Kind::Duplicated], "a rebalance is no cause");
    let closed = rebalance.replace("a gives 0", "a closed").replace("b closed\n        a closed", "b closed");
    assert_eq!(found(&closed), [Kind::Duplicated], "nor is leaving in peace");
    let committed = "
        sent 0 2
        a has 0
        a polls 0 0-1
        a commits 0 2
        a killed
        b has 0
        b polls 0 1
        b commits 0 2";
    assert_eq!(found(committed), [Kind::Duplicated], "it was killed without it in hand");
    assert_eq!(found(&committed.replace("a killed", "a loses 0\n a evicted")), [Kind::Duplicated]);
}

#[test]
fn a_cause_that_comes_too_late_is_none() {
    let killed_later = "
        sent 0 2
        a has 0
        a polls 0 0-1
        b has 0
        b polls 0 0-1
        a killed
        b commits 0 2";
    // Both had the partition, and the records.
    assert_eq!(found(killed_later), [Kind::Duplicated, Kind::Inconsistent]);
    let after_commit = "
        sent 0 2
        a has 0
        a polls 0 0-1
        a commits 0 2
        a gives 0
        b has 0
        b polls 0 1
        b killed";
    assert_eq!(found(after_commit), [Kind::Duplicated], "what is committed is not processed again");
}

#[test]
fn a_refused_commit_accounts_only_for_what_it_named() {
    let story = "
        sent 0 3
        a has 0
        a polls 0 0-2
        a fails-to-commit 0 2
        a gives 0
        b has 0
        b polls 0 0-2
        b commits 0 3";
    assert_eq!(found(story), [Kind::Duplicated]);
    let all = story.replace("fails-to-commit 0 2", "fails-to-commit 0 3");
    assert_eq!(found(&all), CLEAN);
}
