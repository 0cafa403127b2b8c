use super::*;

fn journal() -> Journal {
    Journal::private()
}

#[test]
fn a_reply_is_stored_whole() {
    let journal = journal();
    journal.begin();
    assert_eq!(journal.phase(), Phase::Begun);
    assert!(journal.done(&[b"head", b"", b"and the rest"]));
    assert_eq!((journal.phase(), journal.reply()), (Phase::Done, b"headand the rest".to_vec()));
    assert!(journal.done(&[&[7; REPLY_MAX]]));
    assert_eq!(journal.reply(), [7; REPLY_MAX]);
    assert!(!journal.done(&[&[7; REPLY_MAX], &[1]]), "too long");
    journal.sent();
    assert_eq!(journal.phase(), Phase::Sent);
    journal.reset();
    assert_eq!(journal.phase(), Phase::Begun);
}

#[test]
fn an_effect_is_on_record_until_it_is_concluded() {
    let journal = journal();
    journal.begin();
    attach(Some(journal));
    announce(Change::Count, 5, 77, 1).keep();
    {
        let _counting = announce(Change::Uncount, 6, 78, 0);
        assert_eq!(journal.effect(1).map(|effect| effect.id), Some(6));
    }
    attach(None);
    let expected = Effect { change: Change::Count, id: 5, before: 77, amount: 1, progress: 0 };
    assert_eq!((journal.effect(0), journal.effect(1)), (Some(expected), None));
    journal.reset();
    assert_eq!(journal.effect(0), None);
}

#[test]
fn what_is_taken_back_is_not_on_record_any_more() {
    let journal = journal();
    journal.begin();
    attach(Some(journal));
    announce(Change::Count, 5, 1, 1).keep();
    announce(Change::Count, 6, 1, 1).keep();
    let count = journal.effect(0).unwrap();
    assert!(!journal.takes_back(&count));
    let uncount = announce(Change::Uncount, 5, 2, 1);
    assert!(journal.takes_back(&count));
    drop(uncount);
    attach(None);
    let left: Vec<u64> = (0..EFFECTS).filter_map(|p| journal.effect(p)).map(|e| e.id).collect();
    assert_eq!(left, [6]);
}

#[test]
fn listed_entries_make_room_for_the_next() {
    let journal = journal();
    journal.begin();
    attach(Some(journal));
    for id in 1..100 {
        announce(Change::Count, id, 1, 1).keep();
        let on_record = (0..EFFECTS).filter_map(|place| journal.effect(place));
        assert!(on_record.into_iter().any(|effect| effect.id == id));
        journal.listed().store(id * 100, Ordering::Relaxed);
    }
    attach(None);
}

#[test]
fn an_intent_is_there_or_not() {
    let journal = journal();
    journal.begin();
    assert_eq!(journal.intent(), None);
    journal.intend(&[1, 2]);
    assert_eq!(journal.intent().map(|state| (state[0], state[1])), Some((1, 2)));
    assert!(journal.realtime() > Some(Duration::from_secs(1 << 30)), "after 2004");
    journal.reset();
    assert_eq!((journal.intent(), journal.realtime()), (None, None));
}
