//! Signed orders over any channel.

use super::Agent;
use crate::core::{Event, Mode};
use crate::error::Error;
use crate::order::Verdict;
use crate::trace::event;
use crate::wire::{self, Body, Order, OrderOutcome, OrderResult, codec, codec::Blank};
use nrd_hal::{Crypto, Platform};

impl<P: Platform> Agent<'_, P> {
    /// Applies a signed order, however it came. Writes the signed outcome into
    /// `out` (at least 192 bytes); returns what was done and the outcome's
    /// length. An order that does not verify is an error and changes nothing.
    ///
    /// `Applied` means durable: for a deactivation, the tombstone is on flash.
    ///
    /// ```
    /// use nrd_agent::wire::{OrderKind, OrderResult};
    /// use nrd_agent::{Error, State};
    /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
    /// # let mut service = StubService::new(1);
    /// # let device = TestPlatform::builder().build(&service);
    /// # let mut memory = TestMemory::default();
    /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # agent.start_activation().unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # service.send_order(OrderKind::Deactivate);
    /// # let order = service.pending.take().unwrap();
    /// // `order` came by MQTT, or over the local network.
    /// let mut outcome = [0; 192];
    /// let mut forged = order.clone();
    /// *forged.last_mut().unwrap() ^= 1;
    /// assert_eq!(agent.apply_order(&forged, &mut outcome), Err(Error::BadSignature));
    /// assert_eq!(agent.state(), State::Active);
    ///
    /// let (result, n) = agent.apply_order(&order, &mut outcome).unwrap();
    /// assert_eq!(result, OrderResult::Applied);
    /// assert_eq!(agent.state(), State::Wiping);
    /// // Send `outcome[..n]` back the way that the order came.
    /// # assert!(n > 64);
    /// ```
    pub fn apply_order(
        &mut self,
        frame: &[u8],
        out: &mut [u8],
    ) -> Result<(OrderResult, usize), Error> {
        let mut outcome = OrderOutcome::BLANK;
        self.apply_order_frame(frame, &mut outcome)?;
        let n = codec::write(OrderOutcome::CONTEXT, &outcome, out)?;
        let n = self.sign_frame(out, n)?;
        Ok((outcome.result, n))
    }

    /// Applies a signed order; puts what is to be signed into `outcome`.
    pub(super) fn apply_order_frame(
        &mut self,
        frame: &[u8],
        outcome: &mut OrderOutcome,
    ) -> Result<(), Error> {
        self.tick();
        if matches!(self.core.mode(), Mode::Boot(_)) {
            return Err(Error::Busy);
        }
        let mut order = Order::BLANK;
        let trust = self.trust()?;
        wire::peek_into(frame, Order::KIND, &mut order)?;
        // An order under another key version than the one in force cannot be
        // verified here, so nothing answers it. The service knows from the
        // device's requests which delegation it has, and signs accordingly.
        //
        // Found: a frame with a garbage signature and another key version got an
        // answer signed by the device.
        if order.key_version != trust.order_key_version {
            return Err(Error::KeyRetired);
        }
        order = Order::BLANK;
        wire::read_signed::<P::Crypto>(frame, Order::KIND, &trust.order_key, &mut order)?;
        let digest = P::Crypto::sha256(frame);
        // Found: a removal or a sign-out answered `Hardware` while the counter did not
        // answer, and access stayed open.
        let epoch = self.counter().unwrap_or(self.core.counter());
        let device_id = self.device_id;
        let result = match self.core.judge(&order, &digest, &device_id)? {
            Verdict::Answer(result) => result,
            Verdict::Apply(_) => {
                let event = Event::Order {
                    order: &order,
                    digest: &digest,
                };
                self.settle(event, &[])?;
                OrderResult::Applied
            }
        };
        event!("order answered with result {}", result as u8);
        *outcome = OrderOutcome {
            device_id,
            order: digest,
            result,
            epoch,
        };
        Ok(())
    }
}
