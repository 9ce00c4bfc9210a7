//! Where a broker is, as `serve` and `device` take it.

use nrd_sim::service::outbox::mqtt::Broker;
use std::path::PathBuf;

/// Arguments that say where the broker is.
#[derive(clap::Args)]
pub(super) struct BrokerArgs {
    /// An MQTT broker for orders, mqtt://host:1883 or mqtts://host:8883. With
    /// `serve`, `off` stops it on this database.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// The root of the broker's certificate, a PEM file; mqtts needs it.
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_ca: Option<PathBuf>,
    /// The certificate and key that the broker asks for, one PEM file.
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_identity: Option<PathBuf>,
}

impl BrokerArgs {
    /// True when the broker is to be used no more.
    pub(super) fn is_off(&self) -> bool {
        self.mqtt.as_deref() == Some("off")
    }

    /// The broker, if one is named.
    pub(super) fn broker(&self) -> Result<Option<Broker>, String> {
        match self.mqtt.as_deref() {
            None | Some("off") => Ok(None),
            Some(url) => {
                Broker::parse(url, self.mqtt_ca.as_deref(), self.mqtt_identity.as_deref()).map(Some)
            }
        }
    }
}

/// What to give instead.
pub(super) const EXPECTED: &str = "--mqtt mqtt://localhost:1883";
