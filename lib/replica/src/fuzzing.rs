//! What reads bytes from outside, for `tests/fuzz`.

use crate::document::{Document, Known, Update, Value, decode, encode};

/// An update of a peer, or the version of one.
pub fn update(bytes: &[u8]) {
    let _ = decode::<Known>(bytes).map(|known| known.check());
    let own = Some(Value::Flag(true));
    let begun = Document::default();
    let edit = begun
        .edited(7, [(1, "own".to_owned(), own)])
        .expect("one edit");
    let begun = begun.with(&edit).expect("its own");
    let Ok(update) = decode::<Update>(bytes) else {
        return;
    };
    assert!(update.check().is_ok() || begun.with(&update).is_err());
    let Ok(merged) = begun.with(&update) else {
        return;
    };
    assert!(
        merged.with(&update).as_ref() == Ok(&merged),
        "twice is once"
    );
    // Whatever a copy has taken, another one takes from it, and has the same.
    let given: Update = decode(&encode(&merged.since(&Known::default()))).expect("what was given");
    let again = Document::default()
        .with(&given)
        .expect("what one takes another one does");
    assert!(again.forms() == merged.forms() && again.known() == merged.known());
}
