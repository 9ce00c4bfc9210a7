//! The factory: makes a device in a folder.

use nrd_agent::wire::DeviceKind;
use nrd_sim_base::device_kind;
use nrd_sim_base::sign;
use nrd_sim_base::{hex, random, unhex};
use nrd_sim_hw::{DeviceDirError, Folder, Made, device_key, maker_certificate};
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be made.
pub struct Order<'a> {
    /// The kind of device.
    pub kind: DeviceKind,
    /// The TLS root to pin, a PEM file.
    pub ca: &'a Path,
    /// The maker's key; beside the CA file unless said.
    pub maker_key: Option<PathBuf>,
    /// The service root to pin; beside the CA file unless said.
    pub service_root: Option<PathBuf>,
    /// The device id; drawn unless said.
    pub device_id: Option<String>,
}

/// Makes a device in `dir`.
pub fn provision(dir: &Path, order: &Order<'_>) -> Result<(), DeviceDirError> {
    let beside = |name: &str| order.ca.with_file_name(name);
    let text = |path: &Path| {
        fs::read_to_string(path).map_err(|e| DeviceDirError::File(path.to_owned(), e))
    };
    let key = |path: PathBuf| {
        let digits = text(&path)?;
        unhex::<32>(&digits).ok_or_else(|| {
            DeviceDirError::Content(path, "64 hexadecimal digits are expected".to_owned())
        })
    };
    let ca_pem = text(order.ca)?;
    if !ca_pem.contains("BEGIN CERTIFICATE") {
        let what = "this is no PEM certificate: hand in the service's ca.pem";
        return Err(DeviceDirError::Content(
            order.ca.to_owned(),
            what.to_owned(),
        ));
    }
    let maker = key(order
        .maker_key
        .clone()
        .unwrap_or_else(|| beside("maker.key")))?;
    let service_root = key(order
        .service_root
        .clone()
        .unwrap_or_else(|| beside("service-root.pub")))?;
    let no_random = |_| DeviceDirError::Content(dir.to_owned(), "no random numbers".to_owned());
    let root: [u8; 32] = random().map_err(no_random)?;
    let prefix = device_kind::serial(order.kind);
    let model = format!("Virtual {}", device_kind::name(order.kind));
    let serial: [u8; 5] = random().map_err(no_random)?;
    let device_id = order
        .device_id
        .clone()
        .unwrap_or_else(|| format!("NRD-{prefix}-{}", hex(&serial).to_uppercase()));
    let public = sign::public(&device_key(&root, &device_id));
    let certificate = maker_certificate(
        &sign::keypair(&maker),
        &device_id,
        public,
        &model,
        order.kind,
    );
    let made = Made {
        device_id,
        kind: order.kind,
        model,
        // A partition of a W25Q128JV: 64 sectors of 4 KiB, blocks of 64 KiB.
        size: 256 * 1024,
        write_size: 1,
        erase_size: 4096,
        best_erase: 65536,
        multiwrite: true,
        certificate: hex(&certificate),
        service_root: hex(&service_root),
    };
    Folder::make(dir, &made, &root, &ca_pem)
}
