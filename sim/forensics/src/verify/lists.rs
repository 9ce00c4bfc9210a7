//! The lists that a maker signs: how they are read and signed, and what a
//! verifier has of them.

use super::{ModelList, Revocation, StatusList, Verified};
use nrd_agent::Error;
use nrd_agent::wire::Body as _;
use nrd_verifier::{MakerLists, ModelData};

/// Gives a list its frame: signed by the maker root, dated, numbered (SPEC §9). No
/// device reads one: it goes through serde and postcard.
macro_rules! maker_list {
    ($list:ident, $context:literal, at most $max:expr) => {
        impl Code<'_> for $list {
            fn write(&self, writer: &mut Writer<'_>) {
                match postcard::to_stdvec(self) {
                    Ok(bytes) => writer.bytes(&bytes),
                    Err(_) => writer.fail(),
                }
            }
            fn read(&mut self, reader: &mut Reader<'_>) {
                match postcard::take_from_bytes(reader.rest()) {
                    Ok((list, [])) => *self = list,
                    _ => reader.fail(),
                }
            }
        }

        impl Body<'_> for $list {
            const CONTEXT: &'static [u8] = $context;
            const MAX: usize = $max;
        }

        impl $list {
            /// Reads a list that `maker_root` must have signed.
            pub fn read(frame: &[u8], maker_root: &[u8; 32]) -> Result<$list, Error> {
                decode_signed::<_, RingCrypto>(frame, maker_root)
            }

            /// Signs it. `NoSpace` where it is too long for a list.
            pub fn sign(&self, maker: &Ed25519KeyPair) -> Result<Vec<u8>, Error> {
                let mut out = vec![0; Self::MAX];
                let n = encode_signed::<_, Error>(self, &mut out, |text| {
                    let mut signature = [0; 64];
                    signature.copy_from_slice(maker.sign(text).as_ref());
                    Ok(signature)
                })?;
                out.truncate(n);
                Ok(out)
            }
        }
    };
}
pub(super) use maker_list;

/// Why a list is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListError {
    /// No list, or not signed by this maker root.
    Frame(Error),
    /// Older than the one at hand.
    Older,
}

impl std::fmt::Display for ListError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListError::Frame(e) => write!(f, "this is no list of this maker: {e}"),
            ListError::Older => f.write_str("a newer list is at hand already"),
        }
    }
}

impl std::error::Error for ListError {}

/// What a verifier has of its maker's lists: the newest of each kind, or none.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    status: Option<StatusList>,
    models: Option<ModelList>,
}

impl Lists {
    /// Takes a list of either kind; never an older one than is at hand.
    pub fn take(&mut self, frame: &[u8], maker_root: &[u8; 32]) -> Result<(), ListError> {
        if frame.starts_with(ModelList::CONTEXT) {
            let list = ModelList::read(frame, maker_root).map_err(ListError::Frame)?;
            if self.models.as_ref().is_some_and(|l| l.number > list.number) {
                return Err(ListError::Older);
            }
            self.models = Some(list);
        } else {
            let list = StatusList::read(frame, maker_root).map_err(ListError::Frame)?;
            if self.status.as_ref().is_some_and(|l| l.number > list.number) {
                return Err(ListError::Older);
            }
            self.status = Some(list);
        }
        Ok(())
    }

    /// The status list at hand.
    pub fn status(&self) -> Option<&StatusList> {
        self.status.as_ref()
    }

    /// The model list at hand.
    pub fn models(&self) -> Option<&ModelList> {
        self.models.as_ref()
    }

    /// What the status list says at `now`, Unix seconds.
    pub(super) fn look_up(&self, v: &Verified, now: u64) -> Revocation {
        match &self.status {
            Some(list) => list.look_up(&v.device_id, &v.model, &v.agent_version, now),
            None => Revocation::NotChecked,
        }
    }
}

impl MakerLists for Lists {
    fn model(&self, model: &str) -> Option<Option<ModelData>> {
        self.models.as_ref().map(|list| list.data(model))
    }

    /// A name counts however old its list is; whether a list that names nobody is
    /// in date is in [`Revocation`].
    fn revoked(&self, device_id: &str, model: &str, agent: [u8; 3]) -> Option<bool> {
        let [major, minor, patch] = agent;
        let agent = format!("{major}.{minor}.{patch}");
        let list = self.status.as_ref()?;
        Some(list.names(device_id, model, &agent).is_some())
    }
}
