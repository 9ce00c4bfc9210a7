//! A device introduces itself with its maker certificate.

use super::{Handled, Response, agent_version};
use crate::store::DeviceRow;
use crate::{Error, Result, Service};
use nrd_agent::wire::{Answer, Losses, MakerCertificate, RefusalCode, Request, decode_signed};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::steers;

impl Service {
    pub(super) fn hello(
        &self,
        frame: &[u8],
        claimed: &Request<'_>,
        certificate: &[u8],
        challenge: [u8; 32],
        address: &str,
    ) -> Result<Handled> {
        let refuse = |code| Ok(Handled::refused(challenge, code, 3600));
        let maker = self.keys.maker_public();
        let Ok(cert) = decode_signed::<MakerCertificate, RingCrypto>(certificate, &maker) else {
            return refuse(RefusalCode::UnknownMaker);
        };
        // It would stand on pages and in logs.
        if cert.model.contains(steers) {
            return refuse(RefusalCode::UnknownMaker);
        }
        let signed = decode_signed::<Request<'_>, RingCrypto>(frame, &cert.public_key);
        if signed.is_err() || cert.device_id != claimed.device_id {
            return refuse(RefusalCode::BadRequest);
        }
        let device = DeviceRow {
            id: cert.device_id.as_str().to_owned(),
            public_key: cert.public_key,
            model: cert.model.as_str().to_owned(),
            kind: cert.kind,
            agent_version: agent_version(claimed),
            losses: Losses::default(),
        };
        let known = self.store.device(&device.id)?;
        // One that is known already still fetches its orders and hands in receipts.
        if self
            .barred(&device.id, &device.model, &device.agent_version)
            .is_some()
            && known.is_none()
        {
            tracing::warn!(model = device.model, "a barred device was not enrolled");
            return refuse(RefusalCode::UnknownMaker);
        }
        let says_nothing_new = |known: &DeviceRow| {
            (known.public_key, &known.model, known.kind)
                == (device.public_key, &device.model, device.kind)
        };
        let known = match known {
            Some(known) if says_nothing_new(&known) => known,
            _ => match self.store.enroll(&device, &challenge, self.now_s()) {
                Ok(known) => known,
                Err(Error::WrongState) => return refuse(RefusalCode::UnknownMaker),
                Err(e) => return Err(e),
            },
        };
        // Most are signed over no challenge, or an old one: such a `Hello` may be
        // an old one posted again, and changes nothing.
        let taken = self.take_fresh(&known, claimed, &challenge, address)?;
        Ok(Handled {
            challenge: taken.err().unwrap_or(challenge),
            trust: claimed.trust,
            news: self.store.trust_news(claimed.trust)?,
            response: Response::Plain(Answer::Welcome),
            wait: None,
        })
    }
}
