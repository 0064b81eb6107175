//! What the services say, as it travels to the screen, and what the screen asks of them.

use super::paper::{PaperRequest, PaperUpdate};
use bus::settings::Value;

/// Something that a service said.
#[derive(Debug, Clone)]
pub enum Update {
    /// A setting has this value.
    Setting(String, Value),
    /// The network is like this.
    Network(bus::network::State),
    /// The time comes from there.
    Time(TimeState),
    /// These are all the services.
    Services(Vec<bus::services::Service>),
    /// One service changed.
    Service(Box<bus::services::Service>),
    /// This is the device.
    Device(bus::device::Identity),
    /// This is where data is kept.
    Volumes(Vec<bus::device::Volume>),
    /// This is in use.
    Resources(bus::device::Resources),
    /// These devices are of the family.
    Family(Vec<bus::family::Device>),
    /// Whether this device is lost.
    Lost(Option<bus::family::Loss>),
    /// This is known of the devices of the family.
    Profiles(Vec<bus::home::Profile>),
    /// These devices nearby are open for pairing.
    Candidates(Vec<bus::pairing::Candidate>),
    /// A pairing has come so far.
    Pairing(bus::pairing::Stage),
    /// The paper phrase.
    Paper(PaperUpdate),
    /// This is what the owner has allowed and refused.
    Grants(Vec<bus::grants::Grant>),
    /// These questions wait for the owner.
    Questions(bus::questions::Standing),
    /// The answer to a question was not taken.
    NotAnswered(u64),
    /// This is known of releases.
    Release(Box<bus::update::State>),
    /// This is known of the release of another device, by its id; or nothing any more.
    OtherRelease(String, Option<Box<bus::update::State>>),
    /// What other devices sent and is still here.
    Received(Vec<bus::transfer::Received>),
    /// What is on its way between this device and others.
    Deliveries(Vec<bus::transfer::Delivery>),
    /// Whether there is text to paste.
    CanPaste(bool),
    /// The device that is controlled from here stands so.
    Controlled(Reached),
    /// This is seen of another device's screen.
    Seen(Seen),
    /// Something that the owner should know.
    Trouble(Trouble),
    /// A service was restarted because the person asked.
    Restarted(String),
    /// Programs posted or took away notifications.
    Notifications,
}

/// How things stand with another device whose screen is controlled, or seen, from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It is asked.
    Connecting,
    /// It is there.
    There,
    /// It shows something that is for somebody at it alone.
    Reserved,
    /// Its display is off.
    Dark,
    /// It is over.
    Over(Over),
}

/// Why it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// Somebody at the other device ended it.
    Stopped,
    /// Somebody there ended it a short while ago.
    Recently,
    /// Others do the same.
    Occupied,
    /// It was begun anew from here.
    Replaced,
    /// That screen cannot be seen.
    Impossible,
    /// It was not reached, or not any more, or does not allow it; why.
    Lost(String),
}

/// What is seen of another device's screen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Nothing: it stands like this.
    Nothing(Reached),
    /// A picture. Whoever has taken it says so, and then the next one comes.
    Picture(
        slint::SharedPixelBuffer<slint::Rgb8Pixel>,
        std::sync::Arc<tokio::sync::Notify>,
    ),
}

/// Something that the owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A service does not run, and why.
    Service {
        /// Its name.
        name: String,
        /// What its state says is wrong.
        problem: String,
    },
    /// What the person asked for could not be done, and why.
    NotDone(String),
}

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSource {
    /// The clock that runs while the device is off.
    HardwareClock,
    /// A server.
    Server(String),
    /// The owner set it.
    Owner,
}

/// What the time service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeState {
    /// Where the time comes from.
    pub source: TimeSource,
    /// When it was last compared with a server, in milliseconds since 1970.
    pub synchronised: Option<u64>,
    /// How far off it was then, in milliseconds.
    pub offset: Option<i64>,
    /// Why no server answers, when one should.
    pub problem: Option<String>,
}

impl From<bus::time::State> for TimeState {
    fn from(state: bus::time::State) -> Self {
        Self {
            source: match state.source {
                bus::time::Source::HardwareClock => TimeSource::HardwareClock,
                bus::time::Source::Server(name) => TimeSource::Server(name),
                bus::time::Source::Owner => TimeSource::Owner,
            },
            synchronised: state.synchronised,
            offset: state.offset,
            problem: state.problem,
        }
    }
}

/// Something that the screen asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Change a setting.
    Set(&'static str, Value),
    /// Restart a service.
    RestartService(String),
    /// Call the device with this id so.
    RenameDevice(String, String),
    /// The device with this id stands in this room, or in none.
    SetRoom(String, Option<String>),
    /// Have the device with this id light up.
    LightUp(String),
    /// Take the device with this id out of the family.
    RemoveDevice(String),
    /// The device with this id is lost.
    MarkLost(String),
    /// Let others nearby see this device.
    OpenPairing,
    /// End the pairing that is under way.
    ClosePairing,
    /// Ask a device nearby into the family.
    Pair {
        /// Its id.
        candidate: String,
        /// How the two make sure of each other.
        method: bus::pairing::Method,
        /// What it shows; empty where digits are compared.
        secret: String,
        /// What it will be in the family.
        membership: bus::pairing::Membership,
    },
    /// The digits are the same.
    ConfirmPairing,
    /// They are not.
    RefusePairing,
    /// The paper phrase.
    Paper(PaperRequest),
    /// Send files of these names to the device with this id.
    SendFiles(String, Vec<String>),
    /// Delete files of these names.
    DeleteFiles(Vec<String>),
    /// Take a delivery back.
    CancelDelivery(u64),
    /// Take back what the owner has said.
    RevokeGrant(String),
    /// Let the device with this id ask again.
    Unmute(String),
    /// Answer a question for the owner.
    Answer(u64, bus::questions::Reply),
    /// Ask for a newer release.
    CheckForRelease,
    /// Install the release that was found.
    InstallRelease,
    /// Stop that.
    CancelInstallation,
    /// Restart into the release that is ready.
    RestartIntoRelease,
    /// Have the device with this id take this step.
    UpdateOther(String, Step),
    /// Ask again for what no service tells by itself.
    Refresh(Refresh),
    /// Turn the device off.
    PowerOff,
    /// Restart the device.
    Restart,
}

/// A step to a newer release, on another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look for one.
    Check,
    /// Install the one that was found.
    Install,
    /// Restart into the one that is ready.
    Restart,
}

/// What no service tells by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Memory and processor time of each service.
    Services,
    /// How full the storage is.
    Storage,
    /// Memory in use, time since start.
    Device,
    /// What was received.
    Files,
}
