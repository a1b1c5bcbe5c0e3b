//! The v1 operator API's messages, as far as they are needed, for protobuf and JSON alike.
//!
//! Field numbers are those of the Mesos v1 protos. Fields that are not listed are skipped; enum values that are not
//! known decode to their number (protobuf) or to -1 (JSON) and never fail a message.

#![expect(missing_docs, reason = "the fields are those of the Mesos v1 protos, under their names")]

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares messages: one struct that prost and serde both read and write.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_attr:meta])* $field:ident : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name { $($(#[$field_attr])* pub $field: $ty),* }
        )*
    };
}

/// Declares an enumeration whose JSON form is its names.
macro_rules! names {
    ($(#[$doc:meta])* $module:ident { $($name:literal = $number:literal),* $(,)? }) => {
        $(#[$doc])*
        pub mod $module {
            use super::{Deserialize, Deserializer, Serializer};

            const NAMES: &[(&str, i32)] = &[$(($name, $number)),*];

            /// The name of a number, if it is known.
            pub fn name(number: i32) -> Option<&'static str> {
                NAMES.iter().find(|(_, n)| *n == number).map(|(name, _)| *name)
            }

            /// The number of a name; -1 if it is not known.
            pub fn number(name: &str) -> i32 {
                NAMES.iter().find(|(n, _)| *n == name).map_or(-1, |(_, number)| *number)
            }

            pub(super) fn serialize<S: Serializer>(number: &Option<i32>, s: S) -> Result<S::Ok, S::Error> {
                match number.and_then(name) {
                    Some(name) => s.serialize_some(name),
                    None => s.serialize_none(),
                }
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i32>, D::Error> {
                let name = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
                Ok(name.map(|name| number(&name)))
            }
        }
    };
}

/// Text that need not be UTF-8: kept as the bytes that came.
mod lossy_text {
    use super::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(text: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match text {
            Some(text) => s.serialize_some(&String::from_utf8_lossy(text)),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        d.deserialize_option(Optional)
    }

    struct Optional;
    struct Text;

    impl<'de> serde::de::Visitor<'de> for Optional {
        type Value = Option<Vec<u8>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text or null")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            // Asked for bytes, serde_json does not look at what is in a string.
            d.deserialize_byte_buf(Text).map(Some)
        }
    }

    impl serde::de::Visitor<'_> for Text {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
            Ok(text.as_bytes().to_vec())
        }

        fn visit_bytes<E>(self, text: &[u8]) -> Result<Vec<u8>, E> {
            Ok(text.to_vec())
        }
    }
}

names! {
    /// `Event.Type`.
    event_type {
        "UNKNOWN" = 0, "SUBSCRIBED" = 1, "TASK_ADDED" = 2, "TASK_UPDATED" = 3, "AGENT_ADDED" = 4, "AGENT_REMOVED" = 5,
        "FRAMEWORK_ADDED" = 6, "FRAMEWORK_UPDATED" = 7, "FRAMEWORK_REMOVED" = 8, "HEARTBEAT" = 9,
    }
}
names! {
    /// `TaskState`. The numbers are not in order, and STARTING is 0: presence matters, not the value.
    task_state {
        "TASK_STAGING" = 6, "TASK_STARTING" = 0, "TASK_RUNNING" = 1, "TASK_KILLING" = 8, "TASK_FINISHED" = 2,
        "TASK_FAILED" = 3, "TASK_KILLED" = 4, "TASK_ERROR" = 7, "TASK_LOST" = 5, "TASK_DROPPED" = 9,
        "TASK_UNREACHABLE" = 10, "TASK_GONE" = 11, "TASK_GONE_BY_OPERATOR" = 12, "TASK_UNKNOWN" = 13,
    }
}
names! {
    /// `TaskStatus.Source`.
    status_source { "SOURCE_MASTER" = 0, "SOURCE_AGENT" = 1, "SOURCE_EXECUTOR" = 2 }
}
names! {
    /// `Value.Type`.
    value_type { "SCALAR" = 0, "RANGES" = 1, "SET" = 2, "TEXT" = 3 }
}
names! {
    /// `DiscoveryInfo.Visibility`.
    visibility { "FRAMEWORK" = 0, "CLUSTER" = 1, "EXTERNAL" = 2 }
}
names! {
    /// `NetworkInfo.Protocol`.
    ip_protocol { "IPv4" = 1, "IPv6" = 2 }
}
names! {
    /// `ContainerInfo.Type`.
    container_type { "DOCKER" = 1, "MESOS" = 2 }
}
names! {
    /// `ContainerInfo.DockerInfo.Network`.
    docker_network { "HOST" = 1, "BRIDGE" = 2, "NONE" = 3, "USER" = 4 }
}
names! {
    /// `HealthCheck.Type`.
    health_check_type { "UNKNOWN" = 0, "COMMAND" = 1, "HTTP" = 2, "TCP" = 3 }
}
names! {
    /// `Call.Type`, those that are made or served here.
    call_type {
        "UNKNOWN" = 0, "GET_HEALTH" = 1, "GET_FLAGS" = 2, "GET_VERSION" = 3, "GET_STATE" = 9, "GET_AGENTS" = 10,
        "GET_FRAMEWORKS" = 11, "GET_EXECUTORS" = 12, "GET_TASKS" = 13, "GET_ROLES" = 14, "GET_MASTER" = 17,
        "SUBSCRIBE" = 18,
    }
}
names! {
    /// `Response.Type`, of the calls that are made or served here. Not the numbers of `Call.Type`.
    response_type {
        "UNKNOWN" = 0, "GET_HEALTH" = 1, "GET_FLAGS" = 2, "GET_VERSION" = 3, "GET_STATE" = 8, "GET_AGENTS" = 9,
        "GET_FRAMEWORKS" = 10, "GET_EXECUTORS" = 11, "GET_TASKS" = 12, "GET_ROLES" = 13, "GET_MASTER" = 15,
    }
}

messages! {
    /// `master.Call`.
    Call {
        #[prost(int32, optional, tag = "1")] #[serde(rename = "type", with = "call_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
    }

    /// `master.Event`.
    Event {
        #[prost(int32, optional, tag = "1")] #[serde(rename = "type", with = "event_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] subscribed: Option<Subscribed>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] task_added: Option<TaskAdded>,
        #[prost(message, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] task_updated: Option<TaskUpdated>,
        #[prost(message, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] agent_added: Option<AgentAdded>,
        #[prost(message, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] agent_removed: Option<AgentRemoved>,
        #[prost(message, optional, tag = "7")] #[serde(skip_serializing_if = "Option::is_none")] framework_added: Option<FrameworkChanged>,
        #[prost(message, optional, tag = "8")] #[serde(skip_serializing_if = "Option::is_none")] framework_updated: Option<FrameworkChanged>,
        #[prost(message, optional, tag = "9")] #[serde(skip_serializing_if = "Option::is_none")] framework_removed: Option<FrameworkRemoved>,
    }

    Subscribed {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] get_state: Option<GetState>,
        #[prost(double, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] heartbeat_interval_seconds: Option<f64>,
    }

    TaskAdded {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] task: Option<Task>,
    }

    TaskUpdated {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] framework_id: Option<Id>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] status: Option<TaskStatus>,
        #[prost(int32, optional, tag = "3")] #[serde(with = "task_state", skip_serializing_if = "Option::is_none")] state: Option<i32>,
    }

    AgentAdded {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] agent: Option<Agent>,
    }

    AgentRemoved {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] agent_id: Option<Id>,
    }

    FrameworkChanged {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] framework: Option<Framework>,
    }

    FrameworkRemoved {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] framework_info: Option<FrameworkInfo>,
    }

    /// `master.Response`, the answers that are read or made here.
    Response {
        #[prost(int32, optional, tag = "1")] #[serde(rename = "type", with = "response_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] get_health: Option<GetHealth>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] get_flags: Option<GetFlags>,
        #[prost(message, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] get_version: Option<GetVersion>,
        #[prost(message, optional, tag = "9")] #[serde(skip_serializing_if = "Option::is_none")] get_state: Option<GetState>,
        #[prost(message, optional, tag = "10")] #[serde(skip_serializing_if = "Option::is_none")] get_agents: Option<GetAgents>,
        #[prost(message, optional, tag = "11")] #[serde(skip_serializing_if = "Option::is_none")] get_frameworks: Option<GetFrameworks>,
        #[prost(message, optional, tag = "12")] #[serde(skip_serializing_if = "Option::is_none")] get_executors: Option<GetExecutors>,
        #[prost(message, optional, tag = "13")] #[serde(skip_serializing_if = "Option::is_none")] get_tasks: Option<GetTasks>,
        #[prost(message, optional, tag = "14")] #[serde(skip_serializing_if = "Option::is_none")] get_roles: Option<GetRoles>,
        #[prost(message, optional, tag = "16")] #[serde(skip_serializing_if = "Option::is_none")] get_master: Option<GetMaster>,
    }

    GetHealth {
        #[prost(bool, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] healthy: Option<bool>,
    }

    GetFlags {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] flags: Vec<Flag>,
    }

    Flag {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] value: Option<String>,
    }

    /// Executors are not needed: what tasks they run is in the tasks.
    GetExecutors {}

    GetRoles {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] roles: Vec<Role>,
    }

    Role {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(double, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] weight: Option<f64>,
        #[prost(message, repeated, tag = "3")] #[serde(skip_serializing_if = "Vec::is_empty")] frameworks: Vec<Id>,
    }

    GetVersion {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] version_info: Option<VersionInfo>,
    }

    VersionInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] version: Option<String>,
    }

    GetState {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] get_tasks: Option<GetTasks>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] get_executors: Option<GetExecutors>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] get_frameworks: Option<GetFrameworks>,
        #[prost(message, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] get_agents: Option<GetAgents>,
    }

    GetTasks {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] pending_tasks: Vec<Task>,
        #[prost(message, repeated, tag = "2")] #[serde(skip_serializing_if = "Vec::is_empty")] tasks: Vec<Task>,
        #[prost(message, repeated, tag = "3")] #[serde(skip_serializing_if = "Vec::is_empty")] completed_tasks: Vec<Task>,
        #[prost(message, repeated, tag = "4")] #[serde(skip_serializing_if = "Vec::is_empty")] orphan_tasks: Vec<Task>,
        #[prost(message, repeated, tag = "5")] #[serde(skip_serializing_if = "Vec::is_empty")] unreachable_tasks: Vec<Task>,
    }

    GetAgents {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] agents: Vec<Agent>,
        #[prost(message, repeated, tag = "2")] #[serde(skip_serializing_if = "Vec::is_empty")] recovered_agents: Vec<AgentInfo>,
    }

    GetFrameworks {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] frameworks: Vec<Framework>,
        #[prost(message, repeated, tag = "2")] #[serde(skip_serializing_if = "Vec::is_empty")] completed_frameworks: Vec<Framework>,
        #[prost(message, repeated, tag = "3")] #[serde(skip_serializing_if = "Vec::is_empty")] recovered_frameworks: Vec<FrameworkInfo>,
    }

    GetMaster {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] master_info: Option<MasterInfo>,
        #[prost(double, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] start_time: Option<f64>,
        #[prost(double, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] elected_time: Option<f64>,
    }

    /// `GetAgents.Agent`.
    Agent {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] agent_info: Option<AgentInfo>,
        #[prost(bool, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] active: Option<bool>,
        #[prost(string, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] version: Option<String>,
        #[prost(string, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] pid: Option<String>,
        #[prost(bool, optional, tag = "12")] #[serde(skip_serializing_if = "Option::is_none")] deactivated: Option<bool>,
    }

    /// `GetFrameworks.Framework`.
    Framework {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] framework_info: Option<FrameworkInfo>,
        #[prost(bool, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] active: Option<bool>,
        #[prost(bool, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] connected: Option<bool>,
        #[prost(bool, optional, tag = "11")] #[serde(skip_serializing_if = "Option::is_none")] recovered: Option<bool>,
    }

    Task {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] task_id: Option<Id>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] framework_id: Option<Id>,
        #[prost(message, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] agent_id: Option<Id>,
        #[prost(int32, optional, tag = "6")] #[serde(with = "task_state", skip_serializing_if = "Option::is_none")] state: Option<i32>,
        #[prost(message, repeated, tag = "7")] #[serde(skip_serializing_if = "Vec::is_empty")] resources: Vec<Resource>,
        #[prost(message, repeated, tag = "8")] #[serde(skip_serializing_if = "Vec::is_empty")] statuses: Vec<TaskStatus>,
        #[prost(message, optional, tag = "11")] #[serde(skip_serializing_if = "Option::is_none")] labels: Option<Labels>,
        #[prost(message, optional, tag = "12")] #[serde(skip_serializing_if = "Option::is_none")] discovery: Option<DiscoveryInfo>,
        #[prost(message, optional, tag = "13")] #[serde(skip_serializing_if = "Option::is_none")] container: Option<ContainerInfo>,
        #[prost(message, optional, tag = "15")] #[serde(skip_serializing_if = "Option::is_none")] health_check: Option<HealthCheck>,
        #[prost(message, optional, tag = "16")] #[serde(skip_serializing_if = "Option::is_none")] kill_policy: Option<KillPolicy>,
    }

    TaskStatus {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] task_id: Option<Id>,
        #[prost(int32, optional, tag = "2")] #[serde(with = "task_state", skip_serializing_if = "Option::is_none")] state: Option<i32>,
        // Written by whatever executors there are: not always UTF-8, and no reason to lose the status.
        #[prost(bytes = "vec", optional, tag = "4")] #[serde(with = "lossy_text", skip_serializing_if = "Option::is_none")] message: Option<Vec<u8>>,
        #[prost(message, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] agent_id: Option<Id>,
        #[prost(double, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] timestamp: Option<f64>,
        #[prost(bool, optional, tag = "8")] #[serde(skip_serializing_if = "Option::is_none")] healthy: Option<bool>,
        #[prost(int32, optional, tag = "9")] #[serde(with = "status_source", skip_serializing_if = "Option::is_none")] source: Option<i32>,
        #[prost(message, optional, tag = "12")] #[serde(skip_serializing_if = "Option::is_none")] labels: Option<Labels>,
        #[prost(message, optional, tag = "13")] #[serde(skip_serializing_if = "Option::is_none")] container_status: Option<ContainerStatus>,
        #[prost(message, optional, tag = "14")] #[serde(skip_serializing_if = "Option::is_none")] unreachable_time: Option<Nanoseconds>,
    }

    /// The ids of a `Task` alone, for one of which the rest cannot be read.
    TaskIds {
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] task_id: Option<Id>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] framework_id: Option<Id>,
    }

    /// See [`TaskIds`].
    TaskAddedIds {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] task: Option<TaskIds>,
    }

    /// See [`TaskIds`].
    TaskUpdatedIds {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] framework_id: Option<Id>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] status: Option<TaskStatusIds>,
    }

    /// See [`TaskIds`].
    TaskStatusIds {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] task_id: Option<Id>,
    }

    ContainerStatus {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] network_infos: Vec<NetworkInfo>,
    }

    NetworkInfo {
        #[prost(message, repeated, tag = "5")] #[serde(skip_serializing_if = "Vec::is_empty")] ip_addresses: Vec<IpAddress>,
        #[prost(string, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(message, repeated, tag = "7")] #[serde(skip_serializing_if = "Vec::is_empty")] port_mappings: Vec<PortMapping>,
    }

    IpAddress {
        #[prost(int32, optional, tag = "1")] #[serde(with = "ip_protocol", skip_serializing_if = "Option::is_none")] protocol: Option<i32>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] ip_address: Option<String>,
    }

    PortMapping {
        #[prost(uint32, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] host_port: Option<u32>,
        #[prost(uint32, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] container_port: Option<u32>,
        #[prost(string, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] protocol: Option<String>,
    }

    DiscoveryInfo {
        #[prost(int32, optional, tag = "1")] #[serde(with = "visibility", skip_serializing_if = "Option::is_none")] visibility: Option<i32>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(string, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] environment: Option<String>,
        #[prost(string, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] version: Option<String>,
        #[prost(message, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] ports: Option<Ports>,
        #[prost(message, optional, tag = "7")] #[serde(skip_serializing_if = "Option::is_none")] labels: Option<Labels>,
    }

    Ports {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] ports: Vec<Port>,
    }

    Port {
        #[prost(uint32, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] number: Option<u32>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(string, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] protocol: Option<String>,
        #[prost(message, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] labels: Option<Labels>,
    }

    Labels {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] labels: Vec<Label>,
    }

    Label {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] key: Option<String>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] value: Option<String>,
    }

    HealthCheck {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] http: Option<HttpCheck>,
        #[prost(int32, optional, tag = "8")] #[serde(rename = "type", with = "health_check_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
    }

    HttpCheck {
        #[prost(uint32, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] port: Option<u32>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] path: Option<String>,
    }

    KillPolicy {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] grace_period: Option<Nanoseconds>,
    }

    ContainerInfo {
        #[prost(int32, optional, tag = "1")] #[serde(rename = "type", with = "container_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] docker: Option<DockerInfo>,
        #[prost(message, repeated, tag = "7")] #[serde(skip_serializing_if = "Vec::is_empty")] network_infos: Vec<NetworkInfo>,
    }

    DockerInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] image: Option<String>,
        #[prost(int32, optional, tag = "2")] #[serde(with = "docker_network", skip_serializing_if = "Option::is_none")] network: Option<i32>,
        #[prost(message, repeated, tag = "3")] #[serde(skip_serializing_if = "Vec::is_empty")] port_mappings: Vec<PortMapping>,
    }

    Resource {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(int32, optional, tag = "2")] #[serde(rename = "type", with = "value_type", skip_serializing_if = "Option::is_none")] r#type: Option<i32>,
        #[prost(message, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] ranges: Option<Ranges>,
        #[prost(message, optional, tag = "11")] #[serde(skip_serializing_if = "Option::is_none")] allocation_info: Option<AllocationInfo>,
    }

    /// `Resource.AllocationInfo`: the role of the framework's that got the resource.
    AllocationInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] role: Option<String>,
    }

    Ranges {
        #[prost(message, repeated, tag = "1")] #[serde(skip_serializing_if = "Vec::is_empty")] range: Vec<Range>,
    }

    Range {
        #[prost(uint64, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] begin: Option<u64>,
        #[prost(uint64, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] end: Option<u64>,
    }

    AgentInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] hostname: Option<String>,
        #[prost(message, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] id: Option<Id>,
        #[prost(int32, optional, tag = "8")] #[serde(skip_serializing_if = "Option::is_none")] port: Option<i32>,
        #[prost(message, optional, tag = "10")] #[serde(skip_serializing_if = "Option::is_none")] domain: Option<DomainInfo>,
    }

    DomainInfo {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] fault_domain: Option<FaultDomain>,
    }

    FaultDomain {
        #[prost(message, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] region: Option<DomainName>,
        #[prost(message, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] zone: Option<DomainName>,
    }

    DomainName {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
    }

    FrameworkInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] user: Option<String>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[prost(message, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] id: Option<Id>,
        #[prost(string, optional, tag = "6")] #[serde(skip_serializing_if = "Option::is_none")] role: Option<String>,
        #[prost(string, optional, tag = "7")] #[serde(skip_serializing_if = "Option::is_none")] hostname: Option<String>,
        #[prost(string, optional, tag = "8")] #[serde(skip_serializing_if = "Option::is_none")] principal: Option<String>,
        #[prost(string, optional, tag = "9")] #[serde(skip_serializing_if = "Option::is_none")] webui_url: Option<String>,
        #[prost(string, repeated, tag = "12")] #[serde(skip_serializing_if = "Vec::is_empty")] roles: Vec<String>,
    }

    MasterInfo {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] id: Option<String>,
        #[prost(uint32, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] port: Option<u32>,
        #[prost(string, optional, tag = "4")] #[serde(skip_serializing_if = "Option::is_none")] pid: Option<String>,
        #[prost(string, optional, tag = "5")] #[serde(skip_serializing_if = "Option::is_none")] hostname: Option<String>,
        #[prost(message, optional, tag = "7")] #[serde(skip_serializing_if = "Option::is_none")] address: Option<Address>,
    }

    Address {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] hostname: Option<String>,
        #[prost(string, optional, tag = "2")] #[serde(skip_serializing_if = "Option::is_none")] ip: Option<String>,
        #[prost(int32, optional, tag = "3")] #[serde(skip_serializing_if = "Option::is_none")] port: Option<i32>,
    }

    /// Every `…ID` message: one string.
    Id {
        #[prost(string, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] value: Option<String>,
    }

    /// `TimeInfo` and `DurationInfo`.
    Nanoseconds {
        #[prost(int64, optional, tag = "1")] #[serde(skip_serializing_if = "Option::is_none")] nanoseconds: Option<i64>,
    }
}
