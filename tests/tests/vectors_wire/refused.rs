//! Bytes that a reader must refuse.

use crate::make::Vectors;
use nrd_agent::wire::*;

#[expect(clippy::too_many_lines, reason = "a list")]
pub(crate) fn refused(v: &mut Vectors, frames: &[(&str, &Vec<u8>)]) {
    let of = |name: &str| frames.iter().find(|f| f.0 == name).unwrap().1;
    macro_rules! faults {
        ($($t:ident)*) => {$( v.faults::<$t>(stringify!($t), of(stringify!($t))); )*};
    }
    faults!(MakerCertificate RootChange Delegation Order OrderOutcome Grant Lease);
    faults!(Statement Receipt Request Reply);

    let f = of("MakerCertificate");
    let kind = f.len() - 64 - MakerCertificate::CONTEXT.len() - 1;
    let ty = "MakerCertificate";
    v.spoil::<MakerCertificate>(("an empty device id", ty), f, 0, 6, &[0]);
    v.spoil::<MakerCertificate>(("a space in the device id", ty), f, 1, 1, b" ");
    v.spoil::<MakerCertificate>(
        ("a device id that is no ASCII", ty),
        f,
        1,
        2,
        "é".as_bytes(),
    );
    let long = [&[33][..], &[b'x'; 33]].concat();
    v.spoil::<MakerCertificate>(("a device id of 33 bytes", ty), f, 0, 6, &long);
    v.spoil::<MakerCertificate>(
        ("a length in two bytes where one does", ty),
        f,
        0,
        1,
        &[0x85, 0],
    );
    v.spoil::<MakerCertificate>(("a length beyond the end", ty), f, 38, 1, &[0x7F]);
    v.spoil::<MakerCertificate>(("a model that is no UTF-8", ty), f, 39, 1, &[0xFF]);
    let long = [&[33][..], &[b'x'; 33]].concat();
    v.spoil::<MakerCertificate>(("a model of 33 bytes", ty), f, 38, 12, &long);
    v.spoil::<MakerCertificate>(("a kind of device that there is not", ty), f, kind, 1, &[3]);

    let f = of("RootChange");
    let ty = "RootChange";
    v.spoil::<RootChange>(
        ("a version above 2³² − 1", ty),
        f,
        0,
        1,
        &[0x80, 0x80, 0x80, 0x80, 0x10],
    );
    v.spoil::<RootChange>(("a version in its longer form", ty), f, 0, 1, &[0x81, 0x00]);

    let f = of("Order");
    let ty = "Order";
    let last = f.len() - 64 - Order::CONTEXT.len() - 1;
    let eleven = [
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01,
    ];
    v.spoil::<Order>(("an epoch of eleven bytes", ty), f, 6, 1, &eleven);
    let big = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    v.spoil::<Order>(("an epoch of 2⁶⁴", ty), f, 6, 1, &big);
    v.spoil::<Order>(("a kind of order that there is not", ty), f, last, 1, &[2]);

    let f = of("Grant");
    let ty = "Grant";
    let at = 6 + 16 + 1 + 16 + 32;
    v.spoil::<Grant>(("a boolean of 2", ty), f, at, 1, &[2]);
    let terms = f.len() - 64 - Grant::CONTEXT.len() - 3;
    v.spoil::<Grant>(("boots above 65,535", ty), f, terms, 2, &[0x80, 0x80, 0x04]);

    let f = of("Lease");
    let option = 6 + 16 + 16 + 5 + 5 + 5 + 3 + 5 + 1;
    v.spoil::<Lease>(("an option of 2", "Lease"), f, option, 1, &[2]);

    let f = of("Statement");
    let last = f.len() - 64 - Statement::CONTEXT.len() - 1;
    v.spoil::<Statement>(
        ("a reason that there is not", "Statement"),
        f,
        last,
        1,
        &[8],
    );

    let f = of("Receipt");
    let subject = 2 + of("MakerCertificate").len();
    v.spoil::<Receipt>(
        ("a subject that there is not", "Receipt"),
        f,
        subject,
        1,
        &[3],
    );
    v.spoil::<Receipt>(
        ("a reason that there is not", "Receipt"),
        f,
        subject + 1,
        1,
        &[6],
    );

    let f = of("Request");
    let ask = 6 + 32 + 16 + 3 + 3 + 4;
    v.spoil::<Request>(("an ask that there is not", "Request"), f, ask, 1, &[8]);
    v.spoil::<Request>(("a loss of 2", "Request"), f, ask - 1, 1, &[2]);

    let f = of("Reply");
    v.spoil::<Reply>(("an answer that there is not", "Reply"), f, 34, 1, &[9]);
    v.spoil::<Reply>(("a root that is 2", "Reply"), f, 32, 1, &[2]);
    let long = [&[13][..], &[b'B'; 13]].concat();
    v.spoil::<Reply>(("a code of 13 letters", "Reply"), f, 35, 9, &long);
}
