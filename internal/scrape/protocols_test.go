package scrape

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// A service that speaks another protocol is told apart by its first bytes, at once: it may keep the
// connection open and send no line.
// The bytes of nginx and OpenSSH are recorded, those of the others follow the specifications.
func TestOtherProtocols(t *testing.T) {
	for _, tt := range []struct{ name, beginning, want string }{
		{"TLS", "\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS"},
		{"nginx, http2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00\x00\x05\x00\xff\xff\xff", "it speaks HTTP/2 only"},
		{"grpc-go", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", "it speaks HTTP/2 only"},
		{"OpenSSH", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n", "it speaks SSH, not HTTP; scrape an exporter for it instead"},
		{"Redis", "-NOAUTH Authentication required.\r\n", "it speaks Redis' protocol"},
		{"PgBouncer", "E\x00\x00\x00\x25SFATAL\x00C08P01\x00Mbad packet header\x00\x00", "it speaks PostgreSQL's protocol"},
		{"MariaDB", "\x6e\x00\x00\x00\x0a5.5.5-10.11.14-MariaDB-0+deb12u2\x00", "it speaks MySQL's protocol"},
		{"FastCGI", "\x01\x0b\x00\x00\x00\x08\x00\x00\x47\x00\x00\x00\x00\x00\x00\x00", "it speaks FastCGI"},
		{"Varlink", `{"error":"org.varlink.service.InvalidParameter","parameters":{}}` + "\x00", "it speaks Varlink; if it has metrics, set protocol: varlink"},
		{"Postfix", "220 host.example.org ESMTP Postfix\r\n", "it speaks SMTP or FTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
				io.WriteString(c, tt.beginning)
				return true
			})
			_, _, err := s.scrape(t, newClient(t))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), ": "+tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Real servers of other protocols get an error that names the protocol. None suggests more time.
func TestServersOfOtherProtocols(t *testing.T) {
	const silent = "closed the connection without a response; "
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o777) // for servers that run as another user
	}
	socket := filepath.Join(dir, "svc.sock")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, want, user string
		command          string // for sh; it listens on DIR/svc.sock
	}{
		{"Redis", silent, "", "exec redis-server --port 0 --save '' --unixsocket DIR/svc.sock"},
		{"PHP-FPM", silent, "", "exec $(command -v php-fpm8.2 php-fpm8.4 php-fpm | head -n 1) -n -R -F -y " + write("fpm.conf", "[global]\nerror_log=DIR/log\n[www]\nlisten=DIR/svc.sock\nuser=nobody\nlisten.mode=0666\npm=static\npm.max_children=1\n")},
		{"uwsgi", silent, "", "exec uwsgi-core --uwsgi-socket DIR/svc.sock"},
		{"PostgreSQL", silent, "postgres", "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); $bin/initdb -N -D DIR/pg && ln -s .s.PGSQL.5432 DIR/link && exec $bin/postgres -D DIR/pg -k DIR -c listen_addresses="},
		{"PROXY protocol", silent, "", "exec haproxy -db -f " + write("haproxy.cfg", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend f\n  bind unix@DIR/svc.sock accept-proxy\n  http-request return status 200\n")},
		{"HTTP/2", "it speaks HTTP/2 only", "", "exec nginx -c " + write("nginx.conf", "daemon off; pid DIR/pid; error_log DIR/log; events {} http { access_log off; server { listen unix:DIR/svc.sock http2; } }")},
		{"SSH", "it speaks SSH", "", "mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f DIR/key; exec systemd-socket-activate --inetd -a -l DIR/svc.sock /usr/sbin/sshd -i -f /dev/null -h DIR/key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(socket)
			command := strings.ReplaceAll(tt.command, "DIR", dir)
			server := exec.Command("sh", "-c", command)
			server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(t, tt.user)}
			output := new(strings.Builder)
			server.Stdout, server.Stderr = output, output
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { server.Wait(); close(ended) }()
			defer func() { syscall.Kill(-server.Process.Pid, syscall.SIGKILL); <-ended }()
			path := socket
			if tt.user == "postgres" {
				path = filepath.Join(dir, ".s.PGSQL.5432")
			}
			for {
				if c, err := net.Dial("unix", path); err == nil {
					c.Close()
					break
				}
				select {
				case <-ended:
					if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
						t.Fatalf("%s\n%s", command, output)
					}
					t.Skipf("it did not start: %.300s", output)
				case <-time.After(20 * time.Millisecond):
				}
			}
			found := socketdir.New(dir).SocketAt(path)
			_, _, err := scrapeSocket(t.Context(), newClient(t), found, newRequest(t, 5*time.Second))
			t.Log(err)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrTimeout) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// credential returns the credential of the user called name, or nil for this one.
func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	if name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and the user %s: %v", name, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// If a response without a length has come and the connection stays open, more time would not help.
func TestConnectionStaysOpen(t *testing.T) {
	const stays = "it has sent complete lines, but keeps the connection open"
	for _, tt := range []struct {
		name, response string
		raw            bool
		sentinel       error
		want           string
	}{
		{"complete lines", okLine + plainType + "\r\nx 1\n", false, ErrInvalid, stays},
		{"large", okLine + plainType + "\r\n" + strings.Repeat("x 1\n", limits.MaxBufferedBody), false, ErrInvalid, stays},
		{"in the middle of a line", okLine + plainType + "\r\nx 1", false, ErrTimeout, "received "},
		{"only the head", okLine + plainType + "\r\n", false, ErrTimeout, "received "},
		{"part of a body with a length", okLine + plainType + "Content-Length: 8\r\n\r\nx 1\n", false, ErrTimeout, "received "},
		{"raw", "x 1\n", true, ErrInvalid, stays},
		{"nothing", "", false, ErrTimeout, "set protocol: varlink"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if c, err := l.Accept(); err == nil {
					io.WriteString(c, tt.response)
					io.Copy(io.Discard, c) // until the client closes it
					c.Close()
				}
			}()
			req := newRequest(t, 500*time.Millisecond)
			if tt.raw {
				req.Protocol = Raw
			}
			_, _, err = scrapeSocket(t.Context(), newClient(t), (&fakeService{dir: dir}).socket(t), req)
			if !errors.Is(err, tt.sentinel) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// The advice for a raw service that ends at once is not about HTTP.
func TestRawWithoutMetrics(t *testing.T) {
	s := &fakeService{dir: t.TempDir()}
	l, err := net.Listen("unix", filepath.Join(s.dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	req := newRequest(t, 5*time.Second)
	req.Protocol = Raw
	_, _, err = scrapeSocket(t.Context(), newClient(t), s.socket(t), req)
	if want := "response cut short: the service closed the connection after 0 bytes, before its metrics; check its log"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
