//! What a device may say to a desk, and what it may not.

use super::*;
use nrd_agent::wire::{DeviceId, SectorCounts};

const CHUNK: u16 = 256;

/// A desk whose random bytes are all alike.
type Desk = StorageCheck<fn(&mut [u8]) -> Result<(), NoRandom>>;

fn desk() -> Desk {
    let random: fn(&mut [u8]) -> Result<(), NoRandom> = |out| {
        out.fill(0xA7);
        Ok(())
    };
    let mut desk = StorageCheck::new(None, random);
    assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Send(_))));
    desk
}

fn here(vault: u32, further: u32, chunk: u16, credit: u8) -> Vec<u8> {
    message(&DeviceMessage::Here {
        version: VERSION,
        device_id: DeviceId::new("NRD-1").unwrap(),
        vault,
        further,
        chunk,
        credit,
    })
}

#[test]
fn a_device_says_a_size_that_a_desk_can_fill_or_is_left() {
    for (vault, further, chunk, credit) in [
        (0, 0, CHUNK, 1),
        (1024, 0, 0, 1),
        (1024, 0, CHUNK, 0),
        (1000, 0, CHUNK, 1),
        (1024, 1, CHUNK, 1),
        (MAX_BYTES, 256, CHUNK, 1),
        (u32::MAX, u32::MAX, 1, 1),
        (2048, 0, 1024, 1),
    ] {
        let said = desk().take(&here(vault, further, chunk, credit), Duration::ZERO);
        assert!(
            matches!(said, Err(CheckFailure::Size { .. })),
            "{vault} + {further} in {chunk}: {said:?}"
        );
    }
    let mut desk = desk();
    desk.take(&here(512, 512, CHUNK, 2), Duration::ZERO)
        .unwrap();
    assert_eq!(desk.progress(), (0, 1024));
    // No more than the credit is under way.
    for _ in 0..2 {
        assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Send(_))));
    }
    assert_eq!(desk.next(Duration::ZERO), Ok(Next::Wait));
}

#[test]
fn what_is_not_due_ends_a_check() {
    let stored = |chunks| message(&DeviceMessage::Stored { chunks });
    let answer = message(&DeviceMessage::Answer { digest: [0; 32] });
    let receipt = message(&DeviceMessage::Receipt { frame: b"" });
    for said in [
        &stored(1),
        &answer,
        &receipt,
        &vec![],
        &vec![9, 9],
        &vec![0; 643],
    ] {
        let end = desk().take(said, Duration::ZERO);
        assert_eq!(end, Err(CheckFailure::Conversation), "{said:?}");
    }
    // An acknowledgement of what was not sent, or of what was acknowledged.
    for chunks in [0, 2, u32::MAX] {
        let mut desk = desk();
        desk.take(&here(1024, 0, CHUNK, 4), Duration::ZERO).unwrap();
        assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Send(_))));
        let end = desk.take(&stored(chunks), Duration::ZERO);
        assert_eq!(end, Err(CheckFailure::Conversation), "{chunks}");
    }
    let another = desk().take(
        &message(&DeviceMessage::Here {
            version: VERSION + 1,
            device_id: DeviceId::new("NRD-1").unwrap(),
            vault: 1024,
            further: 0,
            chunk: CHUNK,
            credit: 1,
        }),
        Duration::ZERO,
    );
    assert_eq!(another, Err(CheckFailure::Version(VERSION + 1)));
}

/// A desk whose device has answered well.
fn answered() -> (Desk, Subject) {
    let mut desk = desk();
    desk.take(&here(512, 0, CHUNK, 4), Duration::ZERO).unwrap();
    for chunks in 1..=2 {
        assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Send(_))));
        let stored = message(&DeviceMessage::Stored { chunks });
        desk.take(&stored, Duration::ZERO).unwrap();
    }
    assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Send(_))));
    let Stage::Timed { device, key, .. } = &desk.stage else {
        panic!("the key is sent");
    };
    let (key, digest) = (*key, device.digest(key));
    let answer = message(&DeviceMessage::Answer { digest });
    desk.take(&answer, limit_for(512)).unwrap();
    let bytes = 512;
    (desk, Subject::Stored { key, digest, bytes })
}

#[test]
fn a_receipt_of_another_check_ends_this_one() {
    let receipt = |subject: &Subject| {
        let receipt = Receipt {
            certificate: b"",
            subject: subject.clone(),
            epoch: 0,
            counter: 0,
            method: nrd_agent::wire::Method::Purge,
            sectors: SectorCounts::default(),
            flags: nrd_agent::wire::ReceiptFlags::default(),
            agent_version: [0; 3],
            powered_s: 0,
            wall_s: None,
        };
        let mut frame = [0; 640];
        let n = wire::encode(&receipt, &mut frame).unwrap() + wire::SIGNATURE_LEN;
        message(&DeviceMessage::Receipt { frame: &frame[..n] })
    };
    let (mut desk, stored) = answered();
    desk.take(&receipt(&stored), Duration::ZERO).unwrap();
    assert!(matches!(desk.next(Duration::ZERO), Ok(Next::Done(_))));

    let Subject::Stored { key, digest, bytes } = stored else {
        panic!("of another subject");
    };
    for other in [
        Subject::Stored {
            key: [1; 32],
            digest,
            bytes,
        },
        Subject::Stored {
            key,
            digest: [1; 32],
            bytes,
        },
        Subject::Stored {
            key,
            digest,
            bytes: bytes + 1,
        },
        Subject::Clean { nonce: key },
    ] {
        let (mut desk, _) = answered();
        let end = desk.take(&receipt(&other), Duration::ZERO);
        assert_eq!(end, Err(CheckFailure::Receipt), "{other:?}");
    }
}

#[test]
fn an_answer_within_the_limit_counts_and_a_later_one_does_not() {
    assert_eq!(limit_for(256 << 10), Duration::from_millis(1524));
    let (desk, _) = answered();
    let Stage::Answered(bounded) = &desk.stage else {
        panic!("it was answered in time");
    };
    assert_eq!(bounded.elapsed, bounded.limit);
}
