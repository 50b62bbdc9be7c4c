"""What `s3d --help` and the help of each command say below the arguments."""

DESCRIPTION = """\
A durable S3 gateway beside the application. Applications write to it as to any S3 store;
a write is on disk before it is answered, and reaches the remote when that can be reached.
"""
EPILOG = """\
examples:
  s3d doctor                               what is not as it should be, and what to do
  s3d run                                  start the gateway (its settings: s3d run --help)
  s3d put photo.jpg holiday/2026/a.jpg     store a file
  s3d put backup/notes < notes.txt         store what comes on stdin, also through a pipe
  s3d ls holiday/2026/                     list keys
  s3d get holiday/2026/a.jpg > a.jpg       read it back
  s3d set holiday/2026/a.jpg --tag a=b     give it a tag
  s3d status                               is anything not in the remote yet, and is anything wrong?
  s3d ui                                   the same as a page for a browser, and what can be done about it
  s3d flush holiday                        wait until all of a bucket is delivered
  s3d queue list                           what waits for a person: parked, held, damaged
  s3d trace 7                              what has become of one pending change
  s3d cache stat                           how much is kept of what was read
  s3d sync status                          the sync folder, and what is in its way
  s3d mount status                         the mount, and what is no object yet
  s3d key new --read-only                  let somebody in who may only read (docs/ACCESS.md)
  s3d presign holiday/2026/a.jpg           a URL by which anybody may read it for an hour
  s3d filter test 'b, !b/tmp/*' b/tmp/x    what a list of rules says of an object
  s3d log level debug                      say more in the log, from now on

environment:
  S3D_ENDPOINT           the gateway's S3 door (http://localhost:33333)
  S3D_TLS_CA             a PEM file with the CA of an https:// door; unset: AWS_CA_BUNDLE, SSL_CERT_FILE, the system
  S3D_METRICS_ENDPOINT   its metrics door (http://127.0.0.1:33334)
  S3D_LOCAL_DIR          its local dir, where the socket for `status BUCKET/KEY` is (~/.local/state/s3d)
  S3D_ACCESS_KEYS_FILE   the door's access keys; commands sign with the first of them
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY   what they sign with where there is no such file
  S3D_CONFIG             a JSON or TOML file of these and all other settings; the environment wins
  NO_COLOR               no colours, also on a terminal

exit codes:
  0 done   1 failed   2 wrong usage   3 `status`, `sync status`: something is wrong
  69 s3d or the remote cannot be reached   75 changes are left   130 Ctrl-C
"""
STATUS = """\
examples:
  s3d status                       the daemon: remote, and what is pending
  s3d status holiday               one bucket
  s3d status holiday/2026/a.jpg    one object: delivered, or what its changes wait for
  s3d status --watch               the daemon again and again, until Ctrl-C
  s3d status --json | jq .pending.bytes

A bucket and an object are asked about over the socket in S3D_LOCAL_DIR, so this works where the
daemon runs and for its user. `delivered` means that nothing is pending here. Of the daemon, the exit code is 3 where
something is wrong; docs/OPERATING.md names all that may be.
"""
DOCTOR = """\
examples:
  s3d doctor                       settings, shell, ports, disk, remote, keys, clock, and the buckets in S3D_BUCKETS
  s3d doctor holiday               one more bucket, and whether requests name it in the right place
  s3d doctor --write holiday       whether it takes writes and trailing checksums, and keeps conditions of writes

It reads the settings from the environment as `s3d run` does, and needs no daemon. Each line is ok, a note of what may
surprise, or wrong, with what to do; the exit code is 1 where something is wrong. Not on a terminal, its fields are
separated by tabs: grade, thing, what was found, what to do.
"""
TRACE = """\
examples:
  s3d trace 7                      when it was accepted, by which requests, how often it was tried, what it waits for
  s3d trace 7 --json | jq -r .requests[]

Requests that were recorded (docs/TELEMETRY.md) are named by trace and span, as the collector has them; the push links
to them. What is delivered is pending no more, and is found at the collector only. Not on a terminal, a line is: name
and value, separated by a tab.
"""
UI = """\
examples:
  s3d ui                           serve the status page, and print its address
  s3d ui --port 33335              on this port, for `kubectl port-forward POD 33335`

The page shows what `s3d status`, `s3d queue list` and `s3d cache ls` show, and a day of counts; what waits for a
person can be tried again or discarded there. It is served on 127.0.0.1 to whoever has the printed address, which
changes with each run. It asks the daemon over the socket in S3D_LOCAL_DIR, and ends with Ctrl-C.
"""
LS = """\
examples:
  s3d ls                           the buckets
  s3d ls holiday                   the first level of a bucket
  s3d ls holiday/2026/             what is under a prefix, as far as the next /
  s3d ls -r holiday/2026/          all keys under it
  s3d ls -r --json holiday | jq -r .key
  s3d ls -r --pending holiday      only what is not delivered yet, also while the remote is away

Not on a terminal, a line is: time, size in bytes, key, separated by tabs; - stands for what a
prefix does not have. --json prints one object a line, with the key byte for byte.
"""
GET = """\
examples:
  s3d get holiday/2026/a.jpg > a.jpg
  s3d get holiday/2026/a.jpg -o a.jpg       appears under its name when it is complete
  s3d get backup/src.tar -q | tar x

The body goes to stdout, headers and metadata go to stderr. An answer that ends early is an error.
"""
PUT = """\
examples:
  s3d put photo.jpg holiday/2026/a.jpg
  s3d put holiday/2026/a.jpg < photo.jpg
  tar c src | s3d put backup/src.tar        the same as: tar c src | s3d put - backup/src.tar
  s3d put report.bin docs/report --content-type application/pdf -m author=Ada --tag class=public

The key is stored as it is written: a//b, a/../b and d/ are keys of their own. Content-MD5 is sent, so that
what arrives is what was read. With one argument the data comes on stdin. S3 asks for the length first: a
file says it, also as stdin; more than 8 MiB through a pipe are copied to a temporary file first (TMPDIR).
Not on a terminal, the answer is: target, size in bytes, ETag and durability (local: on the disk
of the gateway; remote: the remote has it), separated by tabs.
"""
SET = """\
examples:
  s3d set holiday/2026/a.jpg --tag class=public --tag album=   adds or changes tags; album is empty
  s3d set holiday/2026/a.jpg --untag class                     removes one
  s3d set holiday --tag team=blue                              the tags of a bucket

Tags that are not named stay as they are: they are read, merged and written back, so that of two
people who do this at once the later one wins. The tags that result are printed.
"""
QUEUE = """\
examples:
  s3d queue list                              what waits for a person: parked, held, damaged, superseded
  s3d queue list holiday/2026/                the same under a prefix
  s3d queue why 7                             what each rule says of a change, and which holds it
  s3d queue retry holiday                     try what was refused again, and the bucket at once if it is paused
  s3d queue export holiday/2026/a.jpg -o /tmp writes change-N.json and change-N.body, never over a file
  s3d queue discard --seq 7 --yes             drop it for good

Not on a terminal, a line of `list` is: number, state, operation, size in bytes, BUCKET/KEY and why it
waits, separated by tabs. All of this is asked over the socket in S3D_LOCAL_DIR, where the daemon runs.
"""
CACHE = """\
examples:
  s3d cache stat                              how many objects, and how many bytes of the disk
  s3d cache ls holiday/2026/                  what is cached below a prefix
  s3d cache warm holiday/2026/                read what is not cached yet of a prefix, so that it will be
  s3d cache warm --rate 10 holiday            the same of a bucket, at 10 MB a second
  s3d cache verify                            compare all that is cached with its checksums
  s3d cache drop holiday                      drop what is cached of a bucket; it is fetched anew when it is read

Not on a terminal, a line of `ls` is: BUCKET/KEY, size in bytes, bytes on the disk, ETag, and when the remote
last confirmed it (Unix time), separated by tabs. One of `warm` is: BUCKET/KEY, what came of it (fetched,
cached before, pending, gone or failed) and bytes that were fetched. `verify` prints objects, blocks, bytes and
damaged blocks; where there are any, they are dropped, named on stderr, and the exit code is 1. `warm` reads
through the S3 door, with the key that the other commands sign with. The rest is asked over the socket in
S3D_LOCAL_DIR.
"""
SYNC = """\
examples:
  s3d sync status                             whether both sides are equal, and what is in the way
  s3d sync now                                look at both sides at once
  s3d sync diff                               what would be done now, a path a line
  s3d sync check                              compare all files of both sides anew, and change nothing
  s3d sync why report/may.txt                 what both sides have of a file, and what is done with it
  s3d sync conflicts                          copies that were kept because both sides were changed
  s3d sync wait --timeout 600                 look at both sides, and wait until they are equal
  s3d sync left                               names that are left alone or could not be synced, and why
  s3d sync pause                              stop, over restarts too, until `s3d sync resume`
  s3d sync resume --accept-deletes            what was deleted is meant: go on
  s3d sync resume --as-new                    delete nothing: compare both sides as two that never met
  s3d sync trash                              what was replaced or deleted in the folder
  s3d sync restore 0123456789abcdef           put it back under its name
  s3d sync left --folder docs                 of one of several folders

Where there are several folders, `status`, `now`, `wait`, `pause` and `resume` without an option are about all of them;
the others ask for --folder, but for `why` with an absolute path.
The exit code of `status` and `wait` is 3 while the folder is halted, and that of `wait` is 75 when its time is over.
What is sent is in the write queue then: `s3d flush` waits for the remote. Not on a terminal, a line of `diff` is what
is done, a path and what it is besides; one of `left` and of `check` is a path and a reason, one of `conflicts` is a
copy, what it is of, since when (Unix time) and its size here and at the remote, and one of `trash` is an id, a path, a
size and when. The exit code of `check` is 1 where something differs. It is asked over the socket in S3D_LOCAL_DIR.
"""
MOUNT = """\
examples:
  s3d mount status                            is it there, and which files are no objects yet?
  s3d mount publish                           make objects of them now
  s3d mount recover -o /tmp/found             copy what was synced out of the local dir, also without a daemon

Not on a terminal, a line of `status` and `publish` is: BUCKET/KEY, size in bytes, synced or open, and why it is no
object, separated by tabs; of `recover`: the copy, BUCKET/KEY and size. `recover` takes nothing away.
"""
FLUSH = """\
examples:
  s3d flush                                   wait until everything that is pending now is delivered
  s3d flush holiday/2026/ --timeout 60        wait for a prefix, for a minute at most

The exit code is 0 when all of it is delivered, and 75 when the time is over, or when something of it is
parked, held or damaged: that is named. Writes that come meanwhile are not waited for.
"""
KEY = """\
examples:
  s3d key new                                 adds a key that may do everything, and shows its secret once
  s3d key new --id report --read-only --bucket sales
  s3d key ls                                  the keys and what they may do, without secrets
  s3d key rotate report                       gives it a second secret; the old one holds as well
  s3d key rotate report --finish              only the new one holds from now on
  s3d key test report                         signs a request to the door, and says what it answered

The keys are in the file that S3D_ACCESS_KEYS_FILE names, for the daemon and for these commands. The door takes over a
changed file within seconds, without a restart. To remove a key, remove its entry from the file.
Not on a terminal, `new` and `rotate` print the id and the secret, separated by a tab.
"""
PRESIGN = """\
examples:
  s3d presign holiday/2026/a.jpg                      whoever has the URL may read it for an hour
  s3d presign holiday/2026/a.jpg --expires 7d
  s3d presign holiday/upload.jpg --method PUT         they may write it: curl -T FILE "$URL"

It is signed with the first key of S3D_ACCESS_KEYS_FILE, else with AWS_ACCESS_KEY_ID; nothing is asked. It holds for
S3D_ENDPOINT as that is set here, and as long as the key has this secret. A door without keys looks at its time only.
"""
FILTER = """\
examples:
  s3d filter test 'photos, !photos/tmp/*' photos/tmp/a.jpg
  s3d filter test 'b/*[hdr:content-type=video/*]' b/clip --hdr content-type=video/mp4
  s3d filter test 'b[tag:team=blue]/*[tag:class!=secret]' b/k --bucket-tag team=blue --op delete

A rule that matches takes the object in, one that begins with ! leaves it out, and the last one that
matches decides. What is not known matches no rule: the tags, headers and metadata of a delete or a get,
if they are not named here, and the tags of a bucket. Then the answer may be `unknown`.
Where the settings here name a policy (S3D_OPA_URL), stderr says that it is asked as well.
Not on a terminal, a line is: rule, whether it matches, and what that means, separated by tabs; the last
line is the answer: yes, no or unknown. The forms of a rule are in docs/FILTERS.md.
"""
LOG = """\
examples:
  s3d log level debug              say everything, from now on
  s3d log level info               the usual

It holds until the daemon ends, or until S3D_LOG_LEVEL changes in its settings.json. What is asked is asked over
the socket in S3D_LOCAL_DIR, where the daemon runs.
"""
COMPLETION = """\
examples:
  eval "$(s3d completion bash)"                                   in ~/.bashrc
  eval "$(s3d completion zsh)"                                    in ~/.zshrc
  s3d completion fish > ~/.config/fish/completions/s3d.fish

Buckets and keys are those of the door at S3D_ENDPOINT, as far as it answers within two seconds.
"""
RUN = """\
examples:
  S3_ENDPOINT=http://127.0.0.1:9000 s3d run
  S3D_CONFIG=/etc/s3d.toml s3d run
  s3d run --check                  validate and show the settings, and end
  s3d run --drain                  deliver what another one left in S3D_LOCAL_DIR, and end

Credentials for the remote come as for any AWS client: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
a profile, or the role of the machine. SIGTERM delivers what is pending until S3D_DRAIN_SECONDS are
over; the exit code is 0 where nothing is left, else 75, and the next start delivers the rest. With
--drain SIGTERM ends it at once, and so does another s3d that waits for S3D_LOCAL_DIR; it ends by
itself when nothing is left but what waits for a person.

settings (environment, or the file that S3D_CONFIG names):
"""


def of_action(text: str, name: str) -> str:
    """The examples of one action in those of its command: `name` is that of both, such as `queue list`."""
    lines = [line for line in text.splitlines() if f"s3d {name} " in f"{line} "]
    return "\n".join(["examples:", *lines, "", f"What it prints: s3d {name.split(maxsplit=1)[0]} --help"])
