//! A device introduces itself with its maker certificate.

use super::{Handled, Response};
use crate::store::DeviceRow;
use crate::{Error, Result, Service};
use nrd_agent::wire::{Answer, MakerCertificate, RefusalCode, Request, decode_signed};
use nrd_hal::crypto::RingCrypto;

impl Service {
    pub(super) fn hello(
        &self,
        frame: &[u8],
        claimed: &Request<'_>,
        certificate: &[u8],
        challenge: [u8; 32],
    ) -> Result<Handled> {
        let refuse = |code| Ok(Handled::refused(challenge, code, 3600));
        let maker = self.keys.maker_public();
        let Ok(cert) = decode_signed::<MakerCertificate, RingCrypto>(certificate, &maker) else {
            return refuse(RefusalCode::UnknownMaker);
        };
        let signed = decode_signed::<Request<'_>, RingCrypto>(frame, &cert.public_key);
        if signed.is_err() || cert.device_id != claimed.device_id {
            return refuse(RefusalCode::BadRequest);
        }
        let [major, minor, patch] = claimed.agent_version;
        let newest = self.store.delegation()?;
        let device = DeviceRow {
            id: cert.device_id.as_str().to_owned(),
            public_key: cert.public_key,
            model: cert.model.as_str().to_owned(),
            kind: cert.kind,
            agent_version: format!("{major}.{minor}.{patch}"),
            delegation: newest.as_ref().map_or(0, |(v, _)| *v),
        };
        match self.store.enroll(&device, &challenge, self.now_s()) {
            Ok(()) => Ok(Handled {
                challenge,
                delegation: newest.map(|(_, frame)| frame),
                response: Response::Plain(Answer::Welcome),
                wait: None,
            }),
            Err(Error::WrongState) => refuse(RefusalCode::UnknownMaker),
            Err(e) => Err(e),
        }
    }
}
