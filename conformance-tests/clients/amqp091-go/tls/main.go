// Command tls drives a broker over TLS through amqp091-go.
//
// One run makes the steps over TLS listed in ../../README.md. Every step asserts what the broker or the
// client must do; the first that fails ends the program with exit code 1 and the step's name.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	runTimeout  = 50 * time.Second
	stepTimeout = 10 * time.Second
	bodyBytes   = 1 << 20
)

// how says in what a connection differs from one that works.
type how struct {
	authority, shown, name string
	version                uint16
	external               bool
}

func usual() how { return how{authority: "ca", shown: "client"} }

func main() {
	watchdog := time.AfterFunc(runTimeout, func() { fail(errors.New("out of time")) })
	defer watchdog.Stop()
	for _, step := range steps() {
		if err := step.run(); err != nil {
			fail(fmt.Errorf("%s: %w", step.name, err))
		}
	}
	fmt.Println("ok amqp091-go-tls", clientVersion())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "FAIL amqp091-go-tls:", err)
	os.Exit(1)
}

func clientVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/rabbitmq/amqp091-go" {
			return dependency.Version
		}
	}
	return "of unknown version"
}

type step struct {
	name string
	run  func() error
}

func steps() []step {
	with := func(change func(*how)) how {
		changed := usual()
		change(&changed)
		return changed
	}
	version12 := with(func(how *how) { how.version = tls.VersionTLS12 })
	version13 := with(func(how *how) { how.version = tls.VersionTLS13 })
	external := with(func(how *how) { how.external = true })
	otherAuthority := with(func(how *how) { how.authority = "other-ca" })
	otherName := with(func(how *how) { how.name = "localhost" })
	otherClient := with(func(how *how) { how.shown = "other-client" })
	noCertificate := with(func(how *how) { how.shown = "" })
	return []step{
		{"work over TLS 1.2", func() error { return work(version12) }},
		{"work over TLS 1.3", func() error { return work(version13) }},
		{"log in by certificate", func() error { return work(external) }},
		{"refuse a broker of another authority", func() error { return refuses[x509.UnknownAuthorityError](otherAuthority) }},
		{"refuse a broker of another name", func() error { return refuses[x509.HostnameError](otherName) }},
		{"see a certificate of another authority refused", func() error { return isRefused(otherClient) }},
		{"see no certificate refused", func() error { return isRefused(noCertificate) }},
		{"work as before", func() error { return work(usual()) }},
	}
}

func file(name string) string {
	return filepath.Join(os.Getenv("MATRIX_CERTIFICATES"), name)
}

func configuration(how how) (*tls.Config, error) {
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(file(how.authority + ".pem"))
	if err != nil || !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("authority %s: %w", how.authority, err)
	}
	config := &tls.Config{RootCAs: roots, ServerName: how.name, MinVersion: how.version, MaxVersion: how.version}
	if how.shown != "" {
		shown, err := tls.LoadX509KeyPair(file(how.shown+".pem"), file(how.shown+".key"))
		if err != nil {
			return nil, err
		}
		// Whatever the broker asks for: a wrong one is for the broker to refuse.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &shown, nil
		}
	}
	return config, nil
}

func connect(how how) (*amqp.Connection, error) {
	config, err := configuration(how)
	if err != nil {
		return nil, err
	}
	dial := amqp.Config{TLSClientConfig: config, Dial: amqp.DefaultDial(stepTimeout)}
	if how.external {
		dial.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	}
	return amqp.DialConfig(os.Getenv("AMQPS_URL"), dial)
}

func work(how how) error {
	connection, err := connect(how)
	if err != nil {
		return err
	}
	if err := exchange(connection); err != nil {
		return errors.Join(err, connection.Close())
	}
	return connection.Close()
}

func exchange(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		return err
	}
	body := make([]byte, bodyBytes)
	if _, err := rand.Read(body); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(limit, "", queue.Name, true, false, amqp.Publishing{Body: body})
	if err != nil {
		return err
	}
	if acked, err := confirmation.WaitContext(limit); err != nil || !acked {
		return fmt.Errorf("acked: %t, %w", acked, err)
	}
	got, ok, err := channel.Get(queue.Name, true)
	if err != nil || !ok {
		return fmt.Errorf("got: %t, %w", ok, err)
	}
	if !bytes.Equal(got.Body, body) {
		return errors.New("the body came back another")
	}
	return nil
}

// refuses wants the client to end the handshake, for this reason.
func refuses[Reason error](how how) error {
	connection, err := connect(how)
	if err == nil {
		return errors.Join(errors.New("it was not refused"), connection.Close())
	}
	var reason Reason
	if !errors.As(err, &reason) {
		return fmt.Errorf("refused for another reason: %w", err)
	}
	return nil
}

// isRefused wants the broker to let nobody in.
func isRefused(how how) error {
	connection, err := connect(how)
	if err == nil {
		return errors.Join(errors.New("it was not refused"), connection.Close())
	}
	return nil
}
