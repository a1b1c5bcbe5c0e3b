//! Settings that are said to reload live do: a whole server is asked before and after a reload.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dns_common;
mod proxy_common;

use std::path::Path;
use std::time::Duration;

use dns_common::{ask_udp, query};
use hickory_proto::rr::RData;
use pointsman::admin::context::ReloadOutcome;
use pointsman::config::{self, Environment};
use pointsman::server::{ConfigFile, Options, Server};
use proxy_common::{Backend, body, header, read_all, read_answer, read_head, soon, status};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Settings that this test sees taking effect.
const SEEN: &[&str] = &[
    "server.history",
    "dns.ttl",
    "dns.negative_ttl",
    "dns.soa.refresh",
    "dns.soa.retry",
    "dns.soa.expire",
    "dns.soa.nameserver",
    "dns.soa.contact",
    "dns.soa.nameserver_addresses",
    "dns.max_udp_size",
    "proxy.via",
    "proxy.max_hops",
    "proxy.trusted_proxies",
    "proxy.paths.merge_slashes",
    "proxy.paths.refuse_encoded_slashes",
    "proxy.underscores",
    "proxy.limits.header",
    "proxy.limits.response",
    "proxy.limits.idle",
    "proxy.limits.keep_alive",
    "proxy.limits.head_fields",
    "proxy.limits.head_size",
    "proxy.limits.connections",
    "proxy.limits.idle_per_endpoint",
    "admin.token",
    "admin.hosts",
];

/// All other live settings, each once: where it is read, from the table of the moment or by whoever follows it (for what is
/// derived or opened anew: who does so), and the test that shows its effect, in a table or a server that has it or after a
/// reload. `reload_derived` and `config_reload` go through theirs one by one.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("server.drain_time", "src/cli/serve.rs", "serve_reload::the_time_of_a_stop_is_the_one_last_read"),
    (
        "server.service_retention",
        "src/table/build",
        "cluster_absence::a_service_is_retained_as_long_as_the_setting_says_that_holds_in_the_end",
    ),
    ("log.level", "src/server/reload.rs", "serve_reload::the_level_of_the_log_changes_with_the_file"),
    (
        "state.interval",
        "src/server/writer.rs",
        "src/server/store.rs::the_last_change_within_an_interval_is_stored_when_it_ends",
    ),
    // Sources.
    ("sources.{mesos,marathon,file}.name", "src/config/reload.rs", "config_reload::sources_are_named"),
    (
        "sources.mesos.{masters,principal,secret,token,service_account,zookeeper_auth,mode,poll_interval,poll_timeout,encoding,missed_heartbeats,max_backoff,agents_interval}",
        "src/server/sources.rs",
        "config_reload::a_source_is_opened_anew_for_each_of_its_settings",
    ),
    (
        "sources.mesos.tls.{ca,certificate,key,server_name}",
        "src/server/sources.rs",
        "config_reload::a_source_is_opened_anew_for_each_of_its_settings",
    ),
    ("sources.mesos.zone", "src/table/build", "reload_sources::a_new_token_is_sent_and_a_new_zone_needs_no_new_stream"),
    (
        "sources.mesos.guard.{max_share,max_count}",
        "src/cluster/guard.rs",
        "cluster_rules::the_guard_is_as_narrow_or_wide_as_the_settings_say",
    ),
    (
        "sources.mesos.guard.{confirm_after,give_up_after}",
        "src/cluster/guard.rs",
        "cluster_rules::held_removals_end_when_the_settings_say",
    ),
    (
        "sources.mesos.guard.recovered_keep",
        "src/cluster/state",
        "cluster_rules::agents_that_a_leader_waits_for_have_as_long_as_the_setting_says",
    ),
    (
        "sources.marathon.{urls,credentials,token,service_account,use_health,active_checks,resync,max_backoff}",
        "src/server/sources.rs",
        "config_reload::a_source_is_opened_anew_for_each_of_its_settings",
    ),
    (
        "sources.marathon.tls.{ca,certificate,key,server_name}",
        "src/server/sources.rs",
        "config_reload::a_source_is_opened_anew_for_each_of_its_settings",
    ),
    (
        "sources.file.{path,zones}",
        "src/server/sources.rs",
        "config_reload::a_source_is_opened_anew_for_each_of_its_settings",
    ),
    // DNS.
    (
        "dns.{srv_weight,ip_sources,name_unhealthy,hold_names,label_rule,extra_names,reverse}",
        "src/table/build",
        "reload_derived::a_reload_gives_the_table_that_a_start_gives",
    ),
    ("dns.dcos.source", "src/table/build/names.rs", "reload_derived::a_reload_gives_the_table_that_a_start_gives"),
    ("dns.dcos.cluster_key", "src/table/build/names.rs", "dcos_zones::renamed_zones_answer_as_themselves"),
    (
        "dns.dcos.{node_addresses,public_addresses}",
        "src/table/names/dcos/mod.rs",
        "dcos_zones::the_fixed_names_of_a_node",
    ),
    (
        "dns.{max_tcp_connections,tcp_idle}",
        "src/dns/worker.rs",
        "reload_limits::dns_over_tcp_has_the_new_number_of_connections_and_the_new_time",
    ),
    ("dns.{identity,tell_version}", "src/dns/chaos.rs", "dns_compliance::dig_and_kdig_see_cookies_ids_and_versions"),
    ("dns.cookies", "src/dns/answer.rs", "dns_compliance::cookies_can_be_left_alone"),
    (
        "dns.cookie_secret",
        "src/dns/cookies.rs",
        "src/dns/cookies.rs::a_cookie_counts_for_its_client_its_time_and_its_keys",
    ),
    ("dns.allow", "src/dns/worker.rs", "dns_access::clients_outside_the_list_are_refused_with_the_reason"),
    (
        "dns.rate_limit.{responses_per_second,slip,ipv4_prefix,ipv6_prefix,exempt}",
        "src/dns/limit.rs",
        "dns_access::a_flood_of_one_question_is_limited_and_a_real_client_still_gets_through",
    ),
    (
        "dns.transfer.{allow,keys}",
        "src/dns/transfer/mod.rs",
        "dns_transfer::nobody_gets_a_zone_by_default_and_with_keys_only_who_signs",
    ),
    ("dns.transfer.notify", "src/dns/transfer", "dns_transfer::a_secondary_is_told_of_changes_and_fetches_them_signed"),
    (
        "dns.log.{path,format,sample}",
        "src/dns/log/mod.rs",
        "dns_log::json_lines_are_objects_and_a_sample_is_one_of_so_many",
    ),
    ("dns.log.dnstap", "src/dns/log/dnstap.rs", "dns_log::a_collector_at_a_socket_gets_the_stream"),
    ("dns.locality.trusted_resolvers", "src/dns/asker.rs", "dns_locality::a_trusted_resolver_says_where_its_client_is"),
    (
        "dns.locality.place.{networks,region,zone}",
        "src/dns/asker.rs",
        "dns_locality::addresses_of_the_same_zone_come_first_and_then_of_the_region",
    ),
    (
        "dns.forward.{upstreams,timeout,random_case,ca,cache_size,min_ttl,max_ttl,max_negative_ttl,max_stale,prefetch,max_in_flight}",
        "src/dns/forward/settings.rs",
        "dns_forward::servers_change_while_it_runs",
    ),
    (
        "dns.forward.zone.{zone,upstreams}",
        "src/dns/forward/settings.rs",
        "dns_forward::a_zone_has_servers_of_its_own_and_what_no_one_knows_is_refused",
    ),
    (
        "dns.forward.allow",
        "src/dns/forward/settings.rs",
        "dns_forward::our_own_names_and_those_of_strangers_are_never_forwarded",
    ),
    (
        "dns.forward.recursion_available",
        "src/dns/answer.rs",
        "mesos_dns_config::recursion_is_said_to_be_available_as_it_is_wanted",
    ),
    (
        "dns.forward.search",
        "src/dns/search.rs",
        "dns_forward::the_first_question_along_a_search_path_is_answered_with_its_end",
    ),
    // The proxy.
    ("proxy.misses", "src/proxy/plan.rs", "proxy_access_log::what_a_request_without_a_route_lacks_is_told_by_choice"),
    ("proxy.proxy_status", "src/proxy/forward.rs", "proxy_routing::answers_of_its_own_carry_a_proxy_status"),
    (
        "proxy.proxy_status_relayed",
        "src/proxy/forward.rs",
        "proxy_routing::answers_of_endpoints_say_where_they_come_from_by_choice",
    ),
    ("proxy.error_pages", "src/proxy/filters/pages.rs", "proxy_pages::errors_have_pages_and_stay_what_they_are"),
    (
        "proxy.request_id",
        "src/proxy/account.rs",
        "proxy_access_log::ids_are_kept_from_trusted_proxies_and_made_for_others",
    ),
    ("proxy.max_attempts", "src/proxy/forward.rs", "proxy_retry::attempts_are_bounded_and_never_at_the_same_endpoint"),
    ("proxy.retry_ratio", "src/proxy/forward.rs", "proxy_retry::repeats_are_bounded_by_the_budget"),
    ("proxy.retry_statuses", "src/proxy/forward.rs", "proxy_retry::an_endpoint_without_time_is_not_the_last_word"),
    ("proxy.retry_body_size", "src/proxy/forward.rs", "proxy_retry::a_body_that_was_not_kept_is_not_sent_again"),
    ("proxy.https_port", "src/proxy/plan.rs", "reload_limits::requests_are_sent_to_the_new_port_of_https"),
    (
        "proxy.balance.{algorithm,hash_balance}",
        "src/proxy/balance/choose.rs",
        "balance_simulation::a_key_stays_with_its_endpoint_and_a_hot_one_spreads",
    ),
    ("proxy.balance.slow_start", "src/proxy/balance/choose.rs", "balance_simulation::a_new_endpoint_starts_slowly"),
    (
        "proxy.balance.{max_requests,max_queue,queue_time}",
        "src/proxy/balance/limit.rs",
        "proxy_queue::the_line_is_bounded_in_number_and_time",
    ),
    (
        "proxy.balance.outliers.{deviation,margin,min_answers,min_endpoints,failure_share,failure_min_answers,time,longest}",
        "src/proxy/balance/outliers.rs",
        "balance_simulation::an_endpoint_that_does_worse_than_the_others_is_spared_ever_longer_and_taken_back",
    ),
    (
        "proxy.balance.ejection.{in_a_row,success_ratio,shortest,longest,max_share,panic_threshold}",
        "src/proxy/balance/eject.rs",
        "src/proxy/balance/eject.rs::rows_and_shares_decide",
    ),
    (
        "proxy.zone.{name,region,share,min_endpoints,stay_from}",
        "src/proxy/balance/zones.rs",
        "balance_simulation::enough_endpoints_in_the_zone_keep_everything",
    ),
    (
        "proxy.hedging.{ratio,quantile,shortest}",
        "src/proxy/forward/hedge.rs",
        "proxy_hedging::the_budget_bounds_copies_and_none_is_off",
    ),
    (
        "proxy.adaptive_concurrency.{enabled,least,most}",
        "src/proxy/balance/gradient.rs",
        "proxy_hedging::requests_beyond_what_is_found_out_are_refused_at_once",
    ),
    (
        "proxy.limits.connect",
        "src/proxy/forward.rs",
        "reload_limits::an_endpoint_that_does_not_accept_is_waited_for_as_long_as_the_setting_says",
    ),
    ("proxy.limits.per_try", "src/proxy/forward/patience.rs", "proxy_retry::a_slow_attempt_goes_elsewhere"),
    (
        "proxy.limits.upstream_idle",
        "src/proxy/worker.rs",
        "reload_limits::idle_connections_to_endpoints_are_kept_for_the_new_time",
    ),
    ("proxy.limits.tcp_idle", "src/proxy/tcp.rs", "reload_limits::silent_tcp_is_cut_after_the_new_time"),
    (
        "proxy.limits.connections_per_network",
        "src/proxy/connection.rs",
        "reload_limits::connections_of_a_network_are_counted_against_the_new_limit",
    ),
    (
        "proxy.limits.streams",
        "src/proxy/connection.rs",
        "reload_limits::streams_of_new_http2_connections_follow_the_setting",
    ),
    ("proxy.limits.buffer_size", "src/proxy/plan.rs", "proxy_strictness::memory_for_bodies_is_capped"),
    (
        "proxy.limits.connections_per_endpoint",
        "src/proxy/route.rs",
        "proxy_limits::connections_in_use_to_an_endpoint_are_bounded",
    ),
    (
        "proxy.service_ports.addresses",
        "src/server/ports.rs",
        "marathon_ways::a_port_is_bound_to_the_one_address_that_its_label_names",
    ),
    ("proxy.service_ports.allowed", "src/table/build", "reload_derived::a_reload_gives_the_table_that_a_start_gives"),
    (
        "proxy.service_ports.assigned",
        "src/table/build/assigned.rs",
        "marathon_source::apps_with_addresses_of_their_own_are_assigned_the_ports_that_there_are",
    ),
    (
        "proxy.service_ports.certificates",
        "src/server/ports.rs",
        "marathon_ways::a_port_has_the_certificate_that_its_label_names_and_follows_the_file",
    ),
    ("proxy.service_ports.proxy_protocol", "src/server/ports.rs", "proxy_protocol::plain_tcp_is_announced_too"),
    (
        "proxy.access_log.{path,format,sample,errors,query}",
        "src/proxy/access_log",
        "proxy_access_log::samples_keep_errors_and_filters_say_otherwise",
    ),
    ("proxy.trace.{context,sample}", "src/proxy/trace.rs", "proxy_access_log::traces_pass_and_begin_by_choice"),
    (
        "proxy.trace.otlp.{endpoint,headers,ca,service,attributes,queue,batch,delay,timeout}",
        "src/proxy/spans",
        "proxy_otlp::it_begins_changes_and_ends_with_the_configuration",
    ),
    (
        "proxy.tls.{ticket_rotation,ticket_keys}",
        "src/server/tickets.rs",
        "proxy_client_tls::sessions_are_resumed_until_their_key_is_forgotten",
    ),
    (
        "proxy.filters.{name,allow,deny,rate,rate_period,rate_burst,rate_by,max_body,max_head,security_headers}",
        "src/proxy/filters/named.rs",
        "proxy_filters::a_changed_filter_counts_at_once",
    ),
    (
        "proxy.filters.access_log",
        "src/proxy/access_log",
        "proxy_access_log::samples_keep_errors_and_filters_say_otherwise",
    ),
    (
        "proxy.filters.cors.{origins,methods,headers,expose,credentials,max_age}",
        "src/proxy/filters/cors.rs",
        "proxy_filters::pages_of_other_origins_may_ask_as_far_as_is_said",
    ),
    (
        "proxy.filters.forward_auth.{url,ca,request_headers,copy_headers,timeout}",
        "src/proxy/filters/forward_auth.rs",
        "proxy_ask::somebody_else_says_who_passes",
    ),
    (
        "proxy.filters.jwt.{keys,ca,refresh,issuer,audience,leeway,cookie,claims}",
        "src/proxy/filters/jwt",
        "proxy_ask::tokens_of_a_set_in_a_file_let_requests_pass",
    ),
    (
        "proxy.filters.errors.{pages,replace}",
        "src/proxy/filters/pages.rs",
        "proxy_pages::errors_have_pages_and_stay_what_they_are",
    ),
    (
        "proxy.filters.errors.{service,path,timeout}",
        "src/proxy/filters/page_service.rs",
        "proxy_pages::a_service_of_the_table_gives_the_page",
    ),
    (
        "proxy.filters.compress.{codings,min_size,types}",
        "src/proxy/filters/compress/mod.rs",
        "proxy_ask::answers_are_compressed_as_the_client_likes",
    ),
    (
        "proxy.acme.{name,directory,contacts,terms_agreed,folder,ca,certificates,challenge,renew_before,retry,max_retry,max_orders,settle}",
        "src/acme/run.rs",
        "proxy_acme::what_is_there_is_served_while_the_authority_is_away_or_forgets_us",
    ),
    (
        "proxy.acme.{route_hosts,max_route_hosts}",
        "src/acme/wanted.rs",
        "proxy_acme::hosts_of_routes_get_certificates_within_their_number",
    ),
    (
        "proxy.acme.external_account.{key_id,hmac_key}",
        "src/acme/order.rs",
        "proxy_acme::an_account_of_a_customer_is_bound_rfc8555_7_3_4",
    ),
    // The rest.
    (
        "routing.{serve_unverified,panic,panic_threshold,groups,require_port_resource,strict_mode}",
        "src/table/build",
        "reload_derived::a_reload_gives_the_table_that_a_start_gives",
    ),
    (
        "routing.unreachable_keep",
        "src/cluster/state/tasks.rs",
        "cluster_rules::tasks_of_a_lost_agent_are_kept_as_long_as_the_setting_says",
    ),
    (
        "routing.drain_time",
        "src/proxy/leash.rs",
        "proxy_drain_time::what_hangs_on_a_draining_endpoint_is_cut_when_its_time_is_over",
    ),
    ("health.check", "src/table/build", "reload_derived::a_reload_gives_the_table_that_a_start_gives"),
    ("health.path", "src/table/build/task.rs", "health_checks::redirects_are_not_followed"),
    (
        "health.{interval,timeout,rise,fall,concurrency}",
        "src/health/run.rs",
        "health_checks::an_endpoint_that_fails_its_checks_gets_nothing_until_it_passes_again",
    ),
    (
        "upstreams.allowed_networks",
        "src/table/build/accept.rs",
        "reload_derived::a_reload_gives_the_table_that_a_start_gives",
    ),
    (
        "upstreams.tls.crl",
        "src/proxy/tls/profiles.rs",
        "proxy_endpoint_tls::a_certificate_that_was_revoked_is_not_believed_rfc5280_5",
    ),
    (
        "upstreams.tls.{name,ca,certificate,key,server_name}",
        "src/proxy/tls/profiles.rs",
        "proxy_endpoint_tls::an_endpoint_that_asks_for_a_certificate_is_shown_one_and_new_files_count",
    ),
    ("admin.mesos_dns_enumeration", "src/admin/mesos_dns/mod.rs", "mesos_dns_api::enumeration_can_be_off"),
    (
        "policy.{frameworks,principals,roles,apps,hosts,paths,ports,names}",
        "src/table/build/policy.rs",
        "reload_derived::a_reload_gives_the_table_that_a_start_gives",
    ),
];

/// Every setting that the reference calls live.
fn live() -> Vec<String> {
    let mut section = String::new();
    let mut out = Vec::new();
    for line in config::reference_markdown().lines() {
        if let Some(heading) = line.strip_prefix("#### `") {
            section = heading.trim_end_matches('`').trim_matches(['[', ']']).to_owned();
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        if let [key, _, _, "live", _] = cells[..] {
            out.push(format!("{section}.{}", key.trim_start_matches("| ").trim_matches('`')));
        }
    }
    out
}

/// `a.{b,c}` is `a.b` and `a.c`.
fn expanded(keys: &str) -> Vec<String> {
    let Some((before, rest)) = keys.split_once('{') else { return vec![keys.to_owned()] };
    let (among, after) = rest.split_once('}').unwrap_or_else(|| panic!("{keys}: a brace is open"));
    among.split(',').flat_map(|one| expanded(&format!("{before}{one}{after}"))).collect()
}

#[test]
fn every_live_setting_is_accounted_for_once() {
    let mut live = live();
    let elsewhere = ELSEWHERE.iter().flat_map(|(keys, _, _)| expanded(keys));
    let mut accounted: Vec<String> = SEEN.iter().map(|key| (*key).to_owned()).chain(elsewhere).collect();
    live.sort_unstable();
    accounted.sort_unstable();
    let missing: Vec<_> = live.iter().filter(|key| !accounted.contains(key)).collect();
    assert!(missing.is_empty(), "show that these reload live, and say where that is shown: {missing:?}");
    let stale: Vec<_> = accounted.iter().filter(|key| !live.contains(key)).collect();
    assert!(stale.is_empty(), "not live settings: {stale:?}");
    assert_eq!(accounted, live, "each once");
}

#[test]
fn what_accounts_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (keys, reader, test) in ELSEWHERE {
        assert!(root.join(reader).exists(), "{keys}: there is no {reader}");
        let (file, function) = test.rsplit_once("::").unwrap();
        let file = if file.starts_with("src/") { file.to_owned() } else { format!("tests/{file}.rs") };
        let text = std::fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{keys}: {file}: {error}"));
        assert!(text.contains(&format!("fn {function}()")), "{keys}: {file} has no test {function}");
        // Those go through their settings one by one.
        if test.starts_with("reload_derived::") || test.contains("a_source_is_opened_anew") {
            for key in expanded(keys) {
                assert!(text.contains(&format!("\"{key}\"")), "{file} has no line for {key}");
            }
        }
    }
}

/// A server under test, and its file.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
    backend: Backend,
}

impl World {
    async fn start(settings: &str) -> Self {
        let backend = Backend::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.contains("/never") {
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
                    return;
                }
                let _ = stream.write_all(proxy_common::ok(&head).as_bytes()).await;
            }
        });
        let backend = backend.await;
        let folder = tempfile::tempdir().unwrap();
        let services = format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{}\"]\n\
             [[records]]\nname = \"www.example.com\"\ntype = \"A\"\nvalue = \"10.0.0.1\"\n\
             [[records]]\nname = \"long.example.com\"\ntype = \"TXT\"\nvalue = \"{}\"\n",
            backend.address,
            "x".repeat(600)
        );
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
        let mut world = Self { server: None, folder, backend };
        world.write(settings);
        let path = world.path();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = tokio::task::block_in_place(|| Server::start(config, options)).unwrap();
        world.server = Some(server);
        let ready = || world.server().table().load().ready;
        proxy_common::until("the file is read", ready).await;
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("pointsman.toml")
    }

    fn write(&self, settings: &str) {
        let base = "[server]\nworkers = 1\n@server\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
                    zones = [\"example.com\"]\n[dns]\nlisten = [\"127.0.0.1:0\"]\n@dns\n[dns.soa]\n@soa\n[proxy]\n@proxy\n\
                    [proxy.limits]\n@limits\n[[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
                    [routing]\n@routing\n[admin]\nlisten = \"127.0.0.1:0\"\n@admin\n";
        let mut text = base.to_owned();
        for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (section, line) = line.split_once(' ').unwrap();
            text = text.replace(section, &format!("{line}\n{section}"));
        }
        let text: String = text.lines().filter(|line| !line.starts_with('@')).map(|line| format!("{line}\n")).collect();
        config::check(&text, Path::new("p.toml"), Environment::empty()).unwrap_or_else(|errors| panic!("{errors}"));
        std::fs::write(self.path(), text).unwrap();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    async fn reload(&self, settings: &str) {
        self.write(settings);
        let before = self.server().table().load().generation;
        let status = self.server().reloader().reload().await;
        assert_eq!(status.outcome, ReloadOutcome::Applied, "{:?}", status.errors);
        proxy_common::until("the table has it", || self.server().table().load().generation > before).await;
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.server().addresses().proxy[0])).await.unwrap()
    }

    /// An answer of the proxy; the request says `Connection: close`.
    async fn get(&self, path: &str, fields: &str) -> String {
        let mut client = self.connect().await;
        let text =
            format!("POST {path} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
        client.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut client).await
    }

    async fn admin(&self, path: &str, fields: &str) -> u16 {
        let mut client = soon(TcpStream::connect(self.server().addresses().admin.unwrap())).await.unwrap();
        let text = format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
        client.write_all(text.as_bytes()).await.unwrap();
        status(&read_all(&mut client).await)
    }

    fn ask(&self, name: &str, record: hickory_proto::rr::RecordType) -> hickory_proto::op::Message {
        let address = self.server().addresses().dns[0];
        tokio::task::block_in_place(|| ask_udp(address, &query(7, name, record)))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let server = self.server.take();
        tokio::task::block_in_place(|| server.map(|server| server.stop(Duration::ZERO)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_settings_hold_for_the_next_request() {
    let world = World::start("").await;
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let forwarded = "X-Forwarded-For: 192.0.2.7\r\n";
    let looping = "Via: 1.1 other\r\n";
    let before = world.get("/", forwarded).await;
    assert!(header(&before, "via").unwrap().ends_with(" pointsman"), "{before}");
    let before_paths = world.get("/a//b%2fc", "").await;
    assert!(body(&before_paths).starts_with("POST /a/b%2Fc HTTP/1.1\r\n"), "{before_paths}");
    assert_eq!(header(body(&before), "x-forwarded-for"), Some("127.0.0.1"));
    let role = "X_Role: y\r\n";
    assert_eq!(header(body(&world.get("/", role).await), "x_role"), Some("y"));
    assert_eq!(status(&world.get("/", &many(30)).await), 200);
    assert_eq!(status(&world.get("/", looping).await), 200);
    assert_eq!(status(&world.get("/", &format!("x: {}\r\n", "y".repeat(20_000))).await), 200);

    world
        .reload(
            "@proxy via = \"other\"
             @proxy max_hops = 1
             @proxy paths.merge_slashes = false
             @proxy paths.refuse_encoded_slashes = true
             @proxy underscores = \"drop\"
             @proxy trusted_proxies = [\"127.0.0.0/8\"]
             @limits head_fields = 20
             @limits head_size = \"1KiB\"
             @limits response = \"50ms\"
             @limits header = \"50ms\"
             @limits keep_alive = \"50ms\"
             @limits idle_per_endpoint = 0",
        )
        .await;
    let after = world.get("/", forwarded).await;
    assert!(header(&after, "via").unwrap().ends_with(" other"), "{after}");
    let after_paths = world.get("/a//b", "").await;
    assert!(body(&after_paths).starts_with("POST /a//b HTTP/1.1\r\n"), "{after_paths}");
    assert_eq!(status(&world.get("/a%2fb", "").await), 400);
    assert_eq!(header(body(&world.get("/", role).await), "x_role"), None);
    assert!(header(body(&after), "x-forwarded-for").unwrap().starts_with("192.0.2.7"), "{after}");
    assert_eq!(status(&world.get("/", &many(30)).await), 431);
    assert_eq!(status(&world.get("/", looping).await), 508);
    assert_eq!(status(&world.get("/", &format!("x: {}\r\n", "y".repeat(20_000))).await), 431);
    assert_eq!(status(&world.get("/never", "").await), 504);
    // Half a head, and none: both connections are ended by their limits of 50 ms.
    for text in ["GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"] {
        let mut client = world.connect().await;
        client.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut client).await;
    }
    // Nothing is kept open to the backend now.
    let known = world.backend.connections();
    for number in 1..4 {
        world.get("/", "").await;
        assert_eq!(world.backend.connections(), known + number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connections_and_idle_bodies_change_with_the_table() {
    let world = World::start("@limits connections = 1").await;
    let mut first = world.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.unwrap();
    read_answer(&mut first).await;
    let mut second = world.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), read_head(&mut second)).await;
    assert!(waits.is_err(), "the limit is 1");
    world.reload("@limits connections = 2\n@limits idle = \"50ms\"").await;
    assert_eq!(status(&read_answer(&mut second).await), 200);
    drop((first, second));
    // A body that stops.
    let mut stalled = world.connect().await;
    stalled.write_all(b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    read_all(&mut stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dns_says_changes_with_the_table() {
    use hickory_proto::rr::RecordType::{A, SOA, TXT};
    let world = World::start("").await;
    assert_eq!(world.ask("www.example.com.", A).answers[0].ttl, 5);
    assert!(world.ask("long.example.com.", TXT).metadata.truncation, "no EDNS: 512 octets");
    world
        .reload(
            "@dns ttl = \"77s\"
             @dns negative_ttl = \"11s\"
             @dns max_udp_size = 600
             @soa refresh = \"101s\"
             @soa retry = \"102s\"
             @soa expire = \"103s\"
             @soa nameserver = \"names\"
             @soa nameserver_addresses = [\"192.0.2.53\"]
             @soa contact = \"people\"",
        )
        .await;
    assert_eq!(world.ask("www.example.com.", A).answers[0].ttl, 77);
    let answer = world.ask("example.com.", SOA);
    let RData::SOA(soa) = &answer.answers[0].data else { panic!("{answer:?}") };
    assert_eq!((soa.refresh, soa.retry, soa.expire, soa.minimum), (101, 102, 103, 11));
    assert_eq!(
        (soa.mname.to_ascii(), soa.rname.to_ascii()),
        ("names.example.com.".into(), "people.example.com.".into())
    );
    let answer = world.ask("names.example.com.", A);
    assert!(matches!(&answer.answers[0].data, RData::A(a) if a.0.octets() == [192, 0, 2, 53]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_changes_with_the_table() {
    let accept = "/v1/sources/file/accept-removals";
    let world = World::start("@admin token = \"one-one-one-one-one\"").await;
    let bearer = |token: &str| format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    assert_ne!(world.admin(accept, &bearer("one-one-one-one-one")).await, 401);
    assert_eq!(world.admin(accept, &bearer("two-two-two-two-two")).await, 401);
    let named = "Host: ops.example.com\r\nAuthorization: Bearer two-two-two-two-two\r\n";
    let refused = world.admin(accept, named).await;
    world.reload("@admin token = \"one-one-one-one-one\"\n@dns ttl = \"6s\"").await;
    assert!(world.server().table().history().iter().count() > 1);
    assert_eq!(status(&world.get("/", "").await), 200);
    let mut open = soon(TcpStream::connect(world.server().addresses().admin.unwrap())).await.unwrap();

    world
        .reload(
            "@admin token = \"two-two-two-two-two\"
             @admin hosts = [\"ops.example.com\"]
             @server history = 1",
        )
        .await;
    assert_eq!(world.admin(accept, &bearer("one-one-one-one-one")).await, 401);
    assert_ne!(world.admin(accept, &bearer("two-two-two-two-two")).await, 401);
    assert_ne!(world.admin(accept, named).await, refused);
    assert_eq!(world.server().table().history().iter().count(), 1);
    // A connection that was open before goes on: nothing was bound anew.
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut open).await), 200);
}
