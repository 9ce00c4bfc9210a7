//! What a verifier checks: the numbered rules of SPEC §9.

/// A rule that a receipt breaks. Its number is the one in the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Erased and failed sectors are all sectors.
    SectorsAddUp = 1,
    /// A vault has at least three sectors.
    SectorsTooFew = 2,
    /// The method is *failed* exactly where something failed.
    MethodAndFindings = 3,
    /// A wipe raises the counter by one, or says that it is worn out.
    CounterAfterWipe = 4,
    /// Without a wipe under way the counter is the epoch.
    CounterAtProof = 5,
    /// A proof writes no tombstone.
    TombstoneOfProof = 6,
    /// An order's digest stands with an order's wipe, and with no other.
    ReasonAndOrder = 7,
    /// What only ends an activation names it.
    ReasonAndActivation = 8,
    /// What was stored and read back is at least the vault.
    StoredBytes = 9,
    /// The maker's model list has another kind.
    ModelKind = 10,
    /// The maker's model list has another number of sectors.
    ModelSectors = 11,
    /// The maker's model list has another vault size.
    ModelBytes = 12,
    /// The slots of this model do not allow this method.
    ModelMethod = 13,
    /// The slots of this model lie elsewhere.
    ModelSlots = 14,
    /// The root key of this model is of another sort.
    ModelRoot = 15,
    /// It is of another activation.
    KnownActivation = 16,
    /// It is of another epoch than the activation's.
    KnownEpoch = 17,
    /// It names an order that was never given.
    KnownOrder = 18,
    /// The counter went back, or did not move since the receipt before.
    KnownCounter = 19,
}

impl Rule {
    /// All of them, in order.
    pub const ALL: [Rule; 19] = [
        Rule::SectorsAddUp,
        Rule::SectorsTooFew,
        Rule::MethodAndFindings,
        Rule::CounterAfterWipe,
        Rule::CounterAtProof,
        Rule::TombstoneOfProof,
        Rule::ReasonAndOrder,
        Rule::ReasonAndActivation,
        Rule::StoredBytes,
        Rule::ModelKind,
        Rule::ModelSectors,
        Rule::ModelBytes,
        Rule::ModelMethod,
        Rule::ModelSlots,
        Rule::ModelRoot,
        Rule::KnownActivation,
        Rule::KnownEpoch,
        Rule::KnownOrder,
        Rule::KnownCounter,
    ];

    /// What contradicts what, in words that stand by themselves.
    pub const fn says(self) -> &'static str {
        match self {
            Rule::SectorsAddUp => "erased and failed sectors are not all sectors",
            Rule::SectorsTooFew => "it has fewer sectors than any vault",
            Rule::MethodAndFindings => {
                "its method does not follow from its key slots and its sectors"
            }
            Rule::CounterAfterWipe => "its counter is not where a wipe of this epoch leaves it",
            Rule::CounterAtProof => "its counter and its epoch differ, and no wipe is under way",
            Rule::TombstoneOfProof => "it is no wipe, and speaks of a wipe’s journal entry",
            Rule::ReasonAndOrder => "its reason and its order do not go together",
            Rule::ReasonAndActivation => "its reason ends an activation, and it names none",
            Rule::StoredBytes => "the bytes stored and read back are not its storage",
            Rule::ModelKind => "the maker’s model list has another kind of device",
            Rule::ModelSectors => "the maker’s model list has another number of sectors",
            Rule::ModelBytes => "the maker’s model list has another size of its storage",
            Rule::ModelMethod => "the key slots of this model do not allow this method",
            Rule::ModelSlots => "the key slots of this model lie elsewhere",
            Rule::ModelRoot => "the root key of this model is of another sort",
            Rule::KnownActivation => "it is of another activation",
            Rule::KnownEpoch => "it is of another epoch than its activation",
            Rule::KnownOrder => "it names an order that was not given for this activation",
            Rule::KnownCounter => {
                "its counter went back, or did not move, since the receipt before"
            }
        }
    }
}

/// The rules that a receipt breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Contradictions(u32);

impl Contradictions {
    pub(crate) fn unless(&mut self, holds: bool, rule: Rule) {
        if !holds {
            self.0 |= 1 << rule as u8;
        }
    }

    /// True when every rule holds.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it breaks this one.
    pub fn has(self, rule: Rule) -> bool {
        self.0 >> rule as u8 & 1 == 1
    }

    /// The broken rules, in order.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.into_iter().filter(move |r| self.has(*r))
    }
}
