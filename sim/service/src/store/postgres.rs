//! PostgreSQL: any number of processes on one database.
//!
//! Transactions run at `READ COMMITTED`; what must not be decided twice hangs
//! on a row lock, a unique key or a conditional update, never on luck. A
//! deadlock or a serialization failure is tried again a few times. `NOTIFY`,
//! sent inside the transaction, wakes the waiters of every process.

use super::fault::{Fault, FaultKind};
use super::migrate;
use super::postgres_url;
use super::sql::{Cell, Connection, Database, Listener, Row, Value, Work};
use crate::error::{Error, Result};
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connections of one process.
const CONNECTIONS: usize = 16;
/// How long a migration may take.
const MIGRATION: Duration = Duration::from_secs(3600);
/// What each session is told when it begins.
const SESSION: &str = "SET statement_timeout = 5000; SET lock_timeout = 3000; \
                       SET idle_in_transaction_session_timeout = 15000; \
                       SET synchronous_commit = on";
/// How long anything may take before the database counts as away.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a piece of work is tried when others were in its way.
const TRIES: u32 = 4;
/// The channel that processes tell each other on.
const CHANNEL: &str = "nrd";
/// How often the listening connection is tested.
const PULSE: Duration = Duration::from_secs(5);
/// Taken while the schema is changed, so that two starts do not meet.
const MIGRATION_LOCK: i64 = 0x6E72_6400;

/// A database that others use as well.
pub(super) struct Postgres {
    pool: Pool,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Connections made before this moment are of no use any more.
    stale_before: Arc<Mutex<Option<Instant>>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Postgres {
    /// Connects, and brings the schema to this version.
    pub(super) fn open(url: &str) -> Result<Postgres> {
        let db = Postgres::open_as_it_is(url)?;
        db.migrate()?;
        Ok(db)
    }

    /// Connects to a database of whatever schema.
    pub(super) fn open_as_it_is(url: &str) -> Result<Postgres> {
        let (mut config, tls) =
            postgres_url::parse(url).map_err(|why| Error::Content("--database".into(), why))?;
        config
            .application_name("nrd-sim")
            .connect_timeout(Duration::from_secs(3))
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(PATIENCE)
            // After a fail-over the old server may answer on, read-only.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let tls = tls.map(MakeRustlsConnect::new);
        let manager = match tls.clone() {
            Some(tls) => Manager::from_config(config.clone(), tls, recycling),
            None => Manager::from_config(config.clone(), NoTls, recycling),
        };
        let stale_before: Arc<Mutex<Option<Instant>>> = Arc::default();
        let stale = stale_before.clone();
        let pool = Pool::builder(manager)
            // Not as start-up options, which a pooler between refuses.
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async {
                    let set = client.batch_execute(SESSION).await;
                    set.map_err(HookError::Backend)
                })
            }))
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                let before = *stale.lock().unwrap_or_else(PoisonError::into_inner);
                if before.is_some_and(|moment| metrics.created < moment) {
                    return Err(HookError::message("made before the database changed"));
                }
                Ok(())
            }))
            .max_size(CONNECTIONS)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(Duration::from_secs(4)))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .build()
            .map_err(|e| Fault::new(FaultKind::Other, e.to_string()))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("database")
            .enable_all()
            .build()
            .map_err(|e| Fault::new(FaultKind::Other, e.to_string()))?;
        let db = Postgres {
            pool,
            config,
            tls,
            stale_before,
            runtime: Some(runtime),
        };
        db.refuse_transaction_pooling()?;
        Ok(db)
    }

    /// Every connection made until now is of no use any more.
    fn all_stale(&self) {
        let mut before = self
            .stale_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *before = Some(Instant::now());
    }

    /// Refuses a pooler that gives each transaction another server connection: what
    /// belongs to a session (limits of time, prepared statements, `LISTEN`) would get
    /// lost, and fail some requests while others work.
    fn refuse_transaction_pooling(&self) -> Result<()> {
        let probe = format!("{}-{:?}", std::process::id(), Instant::now());
        let asked = "SELECT coalesce(current_setting('nrd.probe', true), '')";
        let told = |c: &mut Client<'_>| -> Result<String> {
            let rows = c.query_once(asked)?;
            rows.first().ok_or(Error::NotFound)?.get(0)
        };
        let (mut one, mut other) = (self.connect()?, self.connect()?);
        one.batch(&format!("SET nrd.probe = '{}'", probe.replace('\'', "")))?;
        // Whoever shares server connections is given the one that was just put back,
        // and keeps it for its transaction.
        let shared = match other.batch("BEGIN") {
            // Pooling by statement: there are no transactions at all.
            Err(fault) if fault.kind == FaultKind::Other => true,
            begun => {
                begun?;
                let seen = told(&mut other)?;
                let kept = told(&mut one)?;
                other.roll_back();
                !seen.is_empty() || kept.is_empty()
            }
        };
        one.batch("RESET nrd.probe")?;
        if !shared {
            return Ok(());
        }
        Err(Error::Content(
            "--database".into(),
            "a pooler stands before this database that shares its connections by transaction \
             (PgBouncer: pool_mode = transaction): set pool_mode = session, or name the \
             database itself"
                .into(),
        ))
    }

    fn wait<T>(
        &self,
        what: impl Future<Output = std::result::Result<T, Fault>>,
    ) -> std::result::Result<T, Fault> {
        wait(self.runtime.as_ref(), PATIENCE, what)
    }

    fn connect(&self) -> std::result::Result<Client<'_>, Fault> {
        let object = self.wait(async {
            self.pool.get().await.map_err(|e| match e {
                PoolError::Backend(e) => Fault::from(e),
                e => Fault::new(FaultKind::Away, e.to_string()),
            })
        })?;
        Ok(Client {
            runtime: self.runtime.as_ref(),
            object: Some(object),
            patience: PATIENCE,
        })
    }

    /// Closes a connection after a fault of its own, so that nobody is given it again.
    fn throw_away(&self, c: &mut Client<'_>, fault: &Fault) {
        c.discard();
        // The others lead to the same server.
        if fault.kind == FaultKind::Stale {
            tracing::warn!(fault = %fault, "every connection to the database is made anew");
            self.all_stale();
        }
    }

    fn migrate(&self) -> Result<()> {
        let mut c = self.connect()?;
        // A large table takes longer than any request may.
        c.patience = MIGRATION;
        c.batch("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")?;
        // Held until the transaction ends.
        c.query(
            "SELECT 1 FROM (SELECT pg_advisory_xact_lock(?1)) AS held",
            &[Value::Int(MIGRATION_LOCK)],
        )?;
        let tables = c.query(
            "SELECT count(*) FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = 'meta'",
            &[],
        )?;
        let fresh = tables.first().map(|r| r.get::<i64>(0)).transpose()? == Some(0);
        let found = if fresh {
            0
        } else {
            let rows = c.query("SELECT value FROM meta WHERE key = 'schema'", &[])?;
            rows.first().ok_or(Error::NotFound)?.get::<i64>(0)?
        };
        let steps = migrate::steps(found, Path::new("the database"))?;
        for step in steps {
            c.batch(&migrate::for_postgres(step))?;
        }
        if !steps.is_empty() {
            c.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'schema'",
                &[Value::Int(migrate::SCHEMA)],
            )?;
        }
        c.commit()?;
        if found > 0 && !steps.is_empty() {
            tracing::warn!(from = found, to = migrate::SCHEMA, "database migrated");
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Also where a runtime may not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether a fault belongs to the connection: on another one the same may work.
fn of_the_connection(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Away | FaultKind::Stale)
}

fn wait<T>(
    runtime: Option<&Runtime>,
    patience: Duration,
    what: impl Future<Output = std::result::Result<T, Fault>>,
) -> std::result::Result<T, Fault> {
    let away = |text: &str| Fault::new(FaultKind::Away, text);
    let runtime = runtime.ok_or_else(|| away("shutting down"))?;
    runtime.block_on(async {
        tokio::time::timeout(patience, what)
            .await
            .unwrap_or_else(|_| Err(away("no answer in time")))
    })
}

impl Database for Postgres {
    fn read(&self, work: Work<'_>) -> Result<()> {
        for _ in 1..TRIES {
            let mut c = self.connect()?;
            match work(&mut c) {
                Err(Error::Storage(f)) if of_the_connection(&f) => self.throw_away(&mut c, &f),
                done => return done,
            }
        }
        work(&mut self.connect()?)
    }

    fn write(&self, work: Work<'_>) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut c = self.connect()?;
            if let Err(fault) = c.batch("BEGIN") {
                self.throw_away(&mut c, &fault);
                if tries < TRIES {
                    continue;
                }
                return Err(fault.into());
            }
            let fault = match work(&mut c) {
                Ok(()) => match c.commit() {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault,
                },
                // Nothing of it is stored: it has not come to the commit.
                Err(Error::Storage(fault)) if of_the_connection(&fault) => {
                    self.throw_away(&mut c, &fault);
                    if tries < TRIES {
                        continue;
                    }
                    return Err(fault.into());
                }
                Err(Error::Storage(fault)) => {
                    c.roll_back();
                    fault
                }
                Err(e) => {
                    c.roll_back();
                    return Err(e);
                }
            };
            if fault.kind != FaultKind::Busy || tries >= TRIES {
                return Err(fault.into());
            }
            std::thread::sleep(Duration::from_millis(u64::from(tries) * 7));
        }
    }

    fn listen(&self, heard: Listener) {
        if let Some(runtime) = &self.runtime {
            let config = self.config.clone();
            match self.tls.clone() {
                Some(tls) => runtime.spawn(listen(config, tls, heard)),
                None => runtime.spawn(listen(config, NoTls, heard)),
            };
        }
    }

    fn back_up(&self, _: &Path) -> Result<()> {
        Err(Error::Content(
            "--database".into(),
            "PostgreSQL is copied with its own tools: see docs/OPERATIONS.md (pg_dump)".into(),
        ))
    }

    fn shared(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "PostgreSQL"
    }
}

/// Receives announcements for ever; connects again when the line breaks, and then
/// says that something may have been missed.
async fn listen<T>(config: Config, tls: T, heard: Listener)
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static, TlsConnect: Send> + Clone,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let mut pause = Duration::from_millis(100);
    loop {
        match listen_once(&config, tls.clone(), &heard).await {
            ConnectionLife::NeverOpened => pause = (pause * 2).min(Duration::from_secs(2)),
            ConnectionLife::Opened => pause = Duration::from_millis(100),
        }
        tracing::warn!("the line that wakes waiting devices is down; connecting again");
        tokio::time::sleep(pause).await;
    }
}

enum ConnectionLife {
    /// The connection could not be used at all.
    NeverOpened,
    /// It worked for some time, then it broke.
    Opened,
}

async fn listen_once<T>(
    config: &Config,
    tls: T,
    heard: &(dyn Fn(Option<&str>) + Send + Sync),
) -> ConnectionLife
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static>,
{
    let Ok((client, mut connection)) = config.connect(tls).await else {
        return ConnectionLife::NeverOpened;
    };
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let pump = tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(n) = message
                && tell.send(n.payload().to_owned()).is_err()
            {
                return;
            }
        }
    });
    let mut how = ConnectionLife::NeverOpened;
    if client
        .batch_execute(&format!("LISTEN {CHANNEL}"))
        .await
        .is_ok()
    {
        how = ConnectionLife::Opened;
        heard(None);
        loop {
            match tokio::time::timeout(PULSE, told.recv()).await {
                Ok(Some(what)) => heard(Some(&what)),
                Ok(None) => break,
                Err(_) => {
                    let pulse = tokio::time::timeout(PULSE, client.batch_execute("SELECT 1"));
                    if !matches!(pulse.await, Ok(Ok(()))) {
                        break;
                    }
                }
            }
        }
    }
    pump.abort();
    how
}

/// A pooled connection. One that is dropped inside a transaction does not go
/// back to the pool.
struct Client<'p> {
    runtime: Option<&'p Runtime>,
    object: Option<Object>,
    /// How long the server may take for one statement.
    patience: Duration,
}

impl Client<'_> {
    fn object(&self) -> std::result::Result<&Object, Fault> {
        self.object
            .as_ref()
            .ok_or_else(|| Fault::new(FaultKind::Away, "the connection is closed"))
    }

    fn batch(&mut self, sql: &str) -> std::result::Result<(), Fault> {
        let object = self.object()?;
        wait(self.runtime, self.patience, async {
            Ok(object.batch_execute(sql).await?)
        })
    }

    /// Asks without preparing a statement.
    fn query_once(&mut self, sql: &str) -> Result<Vec<Row>> {
        let object = self.object()?;
        let rows = wait(self.runtime, self.patience, async {
            Ok(object.query_typed(sql, &[]).await?)
        })?;
        rows.iter().map(row).collect()
    }

    fn commit(&mut self) -> std::result::Result<(), Fault> {
        self.batch("COMMIT").map_err(|fault| {
            self.discard();
            match fault.kind {
                // It may have been stored just before the line broke.
                FaultKind::Away => Fault::new(FaultKind::Unsure, "no answer to COMMIT"),
                _ => fault,
            }
        })
    }

    fn roll_back(&mut self) {
        if self.batch("ROLLBACK").is_err() {
            self.discard();
        }
    }

    /// Closes it instead of giving it back.
    fn discard(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        // A panic in the work would leave its transaction open.
        if std::thread::panicking() {
            self.discard();
        }
    }
}

fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

impl Connection for Client<'_> {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let object = self.object()?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|v| v as _).collect();
        Ok(wait(self.runtime, self.patience, async {
            let statement = object.prepare_cached(&numbered(sql)).await?;
            Ok(object.execute(&statement, &values).await?)
        })?)
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let object = self.object()?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|v| v as _).collect();
        let rows = wait(self.runtime, self.patience, async {
            let statement = object.prepare_cached(&numbered(sql)).await?;
            Ok(object.query(&statement, &values).await?)
        })?;
        rows.iter().map(row).collect()
    }

    fn for_update(&self) -> &'static str {
        "FOR NO KEY UPDATE"
    }

    fn for_share(&self) -> &'static str {
        "FOR SHARE"
    }

    fn announce(&mut self, what: &str) -> Result<()> {
        self.query(
            "SELECT 1 FROM (SELECT pg_notify(?1, ?2)) AS told",
            &[Value::Text(CHANNEL), Value::Text(what)],
        )
        .map(drop)
    }

    fn clock_s(&mut self) -> Result<Option<u64>> {
        let sql = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let rows = self.query(sql, &[])?;
        rows.first().map(|r| r.get(0)).transpose()
    }

    fn identity(&mut self) -> Result<Option<i64>> {
        // A restored dump makes its tables anew; a stand-by that takes over, or a
        // server that is brought back to a moment, begins a new timeline.
        let sql = "SELECT hashtextextended(concat_ws(' ', \
                   (SELECT system_identifier FROM pg_control_system()), \
                   'meta'::regclass::oid, \
                   substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)), 0)";
        let rows = self.query(sql, &[])?;
        rows.first().map(|r| r.get(0)).transpose()
    }
}

fn row(r: &tokio_postgres::Row) -> Result<Row> {
    let mut cells = Vec::with_capacity(r.len());
    for (i, column) in r.columns().iter().enumerate() {
        let cell = match *column.type_() {
            Type::INT8 => r.try_get::<_, Option<i64>>(i)?.map(Cell::Int),
            Type::INT4 => r.try_get::<_, Option<i32>>(i)?.map(|v| Cell::Int(v.into())),
            Type::TEXT => r.try_get::<_, Option<String>>(i)?.map(Cell::Text),
            Type::BYTEA => r.try_get::<_, Option<Vec<u8>>>(i)?.map(Cell::Blob),
            _ => return Err(Fault::shape(i).into()),
        };
        cells.push(cell.unwrap_or(Cell::Null));
    }
    Ok(Row(cells))
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match *self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(v) if *ty == Type::INT4 => i32::try_from(v)?.to_sql(ty, out),
            Value::Int(v) => v.to_sql(ty, out),
            Value::Text(t) => t.to_sql(ty, out),
            Value::Blob(b) => b.to_sql(ty, out),
            Value::TooLarge => Err("a number that no column holds".into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    to_sql_checked!();
}
