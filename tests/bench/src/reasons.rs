//! Why a target is missed: printed beside the rows that miss it, and only then.

/// (Group, what the row's name contains, why.) The first that fits counts.
const REASONS: &[(&str, &str, &str)] = &[
    ("updates", "1024 B, uniform, unit 256", FEW),
    ("updates", "unit 256", UNIT_256),
    ("updates", "80/20", SKEW),
    ("updates", "zipf", SKEW),
    (
        "updates",
        "",
        "beside the floor's records a sector holds a header of 40 bytes and two commit \
         words; the floor has neither, and keeps one sector free where the log keeps two",
    ),
    (
        "erases",
        "",
        "wasefire-store lets a record go on in the next page and spends 4 bytes on a \
         record's header, where ours spends 12 and an 8-byte nonce, keeps a record \
         within a sector, and opens each with a header and two commit words",
    ),
    (
        "boot",
        "",
        "each boot opens a sector of the journal to charge its powered time, and reads \
         all of it back blank: that alone is 4096 bytes",
    ),
    (
        "instructions",
        "update",
        "the hedged nonce: HMAC-SHA-256 over the whole value, without SHA instructions",
    ),
    (
        "instructions",
        "get",
        "the value is copied and the work buffer zeroized byte by byte",
    ),
    (
        "remains",
        "after remove",
        "`remove` writes a marker; what it hides dies with its sector's next erase, with \
         `forget` (0) or with the activation (0)",
    ),
    (
        "host",
        "",
        "the hedged nonce of an update (its column), and the work buffer zeroized byte by byte",
    ),
    (
        "fleet",
        "",
        "hosts do what `Agent::poll` says, so a device is called whenever powered time is \
         to be charged to its journal, 25 times a day; the target was met when the \
         simulated host called six times a day, whatever was due",
    ),
    (
        "wipe",
        "",
        "tombstone, receipt, snapshot and marks are programmed as well",
    ),
];

const UNIT_256: &str = "with a write unit of 256 bytes a sector's header and its two commit words \
    take three of its sixteen units, one program each so that a cut between them shows, and a \
    record's padding is most of it";
const FEW: &str = "three records of 1280 bytes do not fit beside a header and two commit words of \
    256 bytes each: a sector holds two, and half a flash is full";
const SKEW: &str = "updates and what is reclaimed go to one open sector, so hot and cold records \
    mix; the floor here is cost-benefit, which keeps a second sector open and would need \
    another erase at each boot. Beside greedy, which mixes them too, see that column";

/// Why the row `name` of `group` misses its target.
pub(crate) fn why(group: &str, name: &str) -> &'static str {
    REASONS
        .iter()
        .find(|(g, part, _)| *g == group && name.contains(part))
        .map_or("not known yet", |r| r.2)
}
