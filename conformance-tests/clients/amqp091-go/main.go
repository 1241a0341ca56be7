// Command client-matrix drives a broker through amqp091-go.
//
// One run makes the steps listed in ../README.md. Every step asserts what the broker must do; the
// first that fails ends the program with exit code 1 and the step's name.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	runTimeout  = 50 * time.Second
	stepTimeout = 10 * time.Second

	messages = 10
	prefetch = 3
	requeued = 2
	rejected = 3
	nacked   = 4
)

var headers = amqp.Table{
	"flag":    true,
	"short":   int16(-7),
	"small":   int32(7),
	"large":   int64(1) << 40,
	"ratio":   0.25,
	"single":  float32(0.5),
	"amount":  amqp.Decimal{Scale: 2, Value: 1234},
	"text":    "grün",
	"bytes":   []byte{0, 1, 255},
	"nothing": nil,
	"moment":  time.Unix(1_709_208_000, 0),
	"list":    []any{int32(1), "two", false},
	"table":   amqp.Table{"inner": "value"},
}

func main() {
	watchdog := time.AfterFunc(runTimeout, func() { fail(errors.New("out of time")) })
	defer watchdog.Stop()
	if err := run(os.Getenv("AMQP_URL")); err != nil {
		fail(err)
	}
	fmt.Println("ok amqp091-go", clientVersion())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "FAIL amqp091-go:", err)
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

func run(url string) (err error) {
	uri, err := amqp.ParseURI(url)
	if err != nil {
		return fmt.Errorf("AMQP_URL %q: %w", url, err)
	}
	connection, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(stepTimeout)})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer connection.Close()
	s := newScenario(connection, uri.Username)
	defer func() { err = firstError(err, s.cleanUp()) }()
	if err := s.openChannel(); err != nil {
		return err
	}
	return s.steps()
}

type scenario struct {
	connection            *amqp.Connection
	channel               *amqp.Channel
	closed                chan *amqp.Error
	user                  string
	exchange, work, audit string
}

func newScenario(connection *amqp.Connection, user string) *scenario {
	random := make([]byte, 16)
	rand.Read(random)
	prefix := "matrix-amqp091-go-" + hex.EncodeToString(random)
	return &scenario{
		connection: connection,
		user:       user,
		exchange:   prefix + ".events",
		work:       prefix + ".work",
		audit:      prefix + ".audit",
	}
}

func (s *scenario) steps() error {
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"declare and bind", s.declareAndBind},
		{"publish with confirms", s.publishWithConfirms},
		{"consume and settle", s.consumeAndSettle},
		{"see return", s.seeReturn},
		{"get", s.get},
		{"see not found", s.seeNotFound},
		{"see precondition failed", s.seePreconditionFailed},
		{"use recovered channel", s.useRecoveredChannel},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *scenario) openChannel() (err error) {
	if s.channel, err = s.connection.Channel(); err != nil {
		return err
	}
	s.closed = s.channel.NotifyClose(make(chan *amqp.Error, 1))
	return s.channel.Confirm(false)
}

func (s *scenario) declareAndBind() error {
	if err := s.channel.ExchangeDeclare(s.exchange, "topic", false, false, false, false, nil); err != nil {
		return err
	}
	for queue, pattern := range map[string]string{s.work: "order.*", s.audit: "order.last"} {
		declared, err := s.channel.QueueDeclare(queue, false, false, false, false, nil)
		if err != nil {
			return err
		}
		if err := equal("declared queue", declared, amqp.Queue{Name: queue}); err != nil {
			return err
		}
		if err := s.channel.QueueBind(queue, pattern, s.exchange, false, nil); err != nil {
			return err
		}
	}
	return nil
}

// publishWithConfirms publishes all before it waits, so that confirms may arrive in any grouping.
func (s *scenario) publishWithConfirms() error {
	var confirmations []*amqp.DeferredConfirmation
	for number := 0; number < messages; number++ {
		key := fmt.Sprintf("order.%d", number)
		if number == messages-1 {
			key = "order.last"
		}
		confirmation, err := s.publish(s.exchange, key, s.message(number))
		if err != nil {
			return err
		}
		confirmations = append(confirmations, confirmation)
	}
	for number, confirmation := range confirmations {
		if err := awaitAck(confirmation); err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
	}
	return nil
}

func (s *scenario) publish(exchange, key string, message amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	return s.channel.PublishWithDeferredConfirm(exchange, key, true, false, message)
}

func awaitAck(confirmation *amqp.DeferredConfirmation) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	acked, err := confirmation.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	return equal("acked", acked, true)
}

func (s *scenario) consumeAndSettle() error {
	if err := s.channel.Qos(prefetch, 0, false); err != nil {
		return err
	}
	arriving, err := s.channel.Consume(s.work, "worker", false, false, false, false, nil)
	if err != nil {
		return err
	}
	deliveries, err := receive(arriving, nil, prefetch)
	if err != nil {
		return err
	}
	if err := s.checkFullWindow(arriving); err != nil {
		return err
	}
	for settled := 0; settled < messages+1; settled++ {
		if deliveries, err = receive(arriving, deliveries, settled+1); err != nil {
			return err
		}
		if err := settle(deliveries[settled]); err != nil {
			return err
		}
	}
	if err := s.channel.Cancel("worker", false); err != nil {
		return err
	}
	if err := s.checkDeliveries(deliveries); err != nil {
		return err
	}
	return s.checkCounts(amqp.Queue{Name: s.work})
}

func receive(arriving <-chan amqp.Delivery, deliveries []amqp.Delivery, count int) ([]amqp.Delivery, error) {
	for len(deliveries) < count {
		select {
		case delivery, open := <-arriving:
			if !open {
				return nil, errors.New("the consumer was closed")
			}
			deliveries = append(deliveries, delivery)
		case <-time.After(stepTimeout):
			return nil, fmt.Errorf("no delivery number %d", len(deliveries)+1)
		}
	}
	return deliveries, nil
}

func (s *scenario) checkFullWindow(arriving <-chan amqp.Delivery) error {
	full := amqp.Queue{Name: s.work, Messages: messages - prefetch, Consumers: 1}
	if err := s.checkCounts(full); err != nil {
		return err
	}
	select {
	case delivery := <-arriving:
		return fmt.Errorf("delivery %d exceeds the prefetch window", delivery.DeliveryTag)
	default:
		return nil
	}
}

func (s *scenario) checkCounts(expected amqp.Queue) error {
	found, err := s.channel.QueueDeclarePassive(s.work, false, false, false, false, nil)
	if err != nil {
		return err
	}
	return equal("counts", found, expected)
}

func settle(delivery amqp.Delivery) error {
	switch {
	case delivery.MessageId == fmt.Sprint(requeued) && !delivery.Redelivered:
		return delivery.Nack(false, true)
	case delivery.MessageId == fmt.Sprint(rejected):
		return delivery.Reject(false)
	case delivery.MessageId == fmt.Sprint(nacked):
		return delivery.Nack(false, false)
	default:
		return delivery.Ack(false)
	}
}

func (s *scenario) checkDeliveries(deliveries []amqp.Delivery) error {
	var again []string
	number := 0
	for _, delivery := range deliveries {
		if delivery.Redelivered {
			again = append(again, delivery.MessageId)
			continue
		}
		if err := equal("exchange", delivery.Exchange, s.exchange); err != nil {
			return err
		}
		if err := equal("message", published(delivery), s.message(number)); err != nil {
			return fmt.Errorf("delivery %d: %w", number, err)
		}
		number++
	}
	if err := equal("first deliveries", number, messages); err != nil {
		return err
	}
	return equal("redelivered", again, []string{fmt.Sprint(requeued)})
}

func published(d amqp.Delivery) amqp.Publishing {
	return amqp.Publishing{
		Headers:         d.Headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    d.DeliveryMode,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		Expiration:      d.Expiration,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		UserId:          d.UserId,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

func (s *scenario) message(number int) amqp.Publishing {
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     "text/plain",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Persistent,
		Priority:        4,
		CorrelationId:   fmt.Sprintf("correlation-%d", number),
		ReplyTo:         "replies",
		Expiration:      "60000",
		MessageId:       fmt.Sprint(number),
		Timestamp:       time.Unix(1_700_000_000, 0),
		Type:            "order",
		UserId:          s.user,
		AppId:           "matrix",
		Body:            body(number),
	}
}

func body(number int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("body %d", number)), number+1)
}

func (s *scenario) seeReturn() error {
	returns := s.channel.NotifyReturn(make(chan amqp.Return, 1))
	confirmation, err := s.publish(s.exchange, "nowhere", amqp.Publishing{Body: []byte("lost")})
	if err != nil {
		return err
	}
	if err := awaitAck(confirmation); err != nil {
		return err
	}
	select {
	case r := <-returns:
		reply := []any{r.ReplyCode, r.ReplyText, r.Exchange, r.RoutingKey, string(r.Body)}
		return equal("return", reply, []any{uint16(312), "NO_ROUTE", s.exchange, "nowhere", "lost"})
	case <-time.After(stepTimeout):
		return errors.New("an unroutable mandatory message was not returned")
	}
}

func (s *scenario) get() error {
	message, ok, err := s.channel.Get(s.audit, false)
	if err != nil || !ok {
		return fmt.Errorf("the second queue holds no message (%v)", err)
	}
	if err := equal("message", published(message), s.message(messages-1)); err != nil {
		return err
	}
	if err := equal("messages left", message.MessageCount, uint32(0)); err != nil {
		return err
	}
	if err := message.Ack(false); err != nil {
		return err
	}
	_, ok, err = s.channel.Get(s.audit, false)
	return firstError(err, equal("message in an empty queue", ok, false))
}

func (s *scenario) seeNotFound() error {
	return s.closes(amqp.NotFound, func() error {
		_, err := s.channel.QueueDeclarePassive(s.work+".missing", false, false, false, false, nil)
		return err
	})
}

func (s *scenario) seePreconditionFailed() error {
	return s.closes(amqp.PreconditionFailed, func() error {
		_, err := s.channel.QueueDeclare(s.work, true, false, false, false, nil)
		return err
	})
}

func (s *scenario) closes(code int, action func() error) error {
	if err := equal("code of the error", codeOf(action()), code); err != nil {
		return err
	}
	select {
	case closed := <-s.closed:
		if err := equal("code of the channel close", closed.Code, code); err != nil {
			return err
		}
	case <-time.After(stepTimeout):
		return fmt.Errorf("the channel was not closed with %d", code)
	}
	return s.openChannel()
}

func codeOf(err error) int {
	var closed *amqp.Error
	if errors.As(err, &closed) {
		return closed.Code
	}
	return 0
}

func (s *scenario) useRecoveredChannel() error {
	confirmation, err := s.publish("", s.work, amqp.Publishing{Body: []byte("after")})
	if err != nil {
		return err
	}
	if err := awaitAck(confirmation); err != nil {
		return err
	}
	message, ok, err := s.channel.Get(s.work, true)
	if err != nil || !ok {
		return fmt.Errorf("the message published after recovery is missing (%v)", err)
	}
	return equal("message", []string{string(message.Body), message.RoutingKey}, []string{"after", s.work})
}

func (s *scenario) cleanUp() error {
	channel, err := s.connection.Channel()
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	_, first := channel.QueueDelete(s.work, false, false, false)
	_, second := channel.QueueDelete(s.audit, false, false, false)
	return firstError(first, second, channel.ExchangeDelete(s.exchange, false, false))
}

func firstError(candidates ...error) error {
	for _, err := range candidates {
		if err != nil {
			return err
		}
	}
	return nil
}

func equal(what string, actual, expected any) error {
	if reflect.DeepEqual(actual, expected) {
		return nil
	}
	return fmt.Errorf("%s: expected %#v, got %#v", what, expected, actual)
}
