<?php

// Drives a broker through php-amqplib.
//
// One run of the steps listed in ../README.md. Every step asserts what the broker must do; the
// first that fails ends the program with exit code 1 and the step's name.

declare(strict_types=1);

require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Package;
use PhpAmqpLib\Wire\AMQPAbstractCollection as Type;
use PhpAmqpLib\Wire\AMQPTable;

const RUN_SECONDS_MAX = 50;
const STEP_SECONDS_MAX = 10;
const MESSAGES = 10;
const PREFETCH = 3;
const REQUEUED = 2;
const REJECTED = 3;
const NACKED = 4;

final class Failed extends Exception
{
}

function check(bool $condition, string $message): void
{
    if (!$condition) {
        throw new Failed($message);
    }
}

function equal(mixed $actual, mixed $expected, string $what): void
{
    [$shown, $wanted] = [var_export($actual, true), var_export($expected, true)];
    check($actual === $expected, "$what: expected $wanted, got $shown");
}

function body(int $number): string
{
    return str_repeat("body $number", $number + 1);
}

function headers(): AMQPTable
{
    $headers = new AMQPTable();
    $headers->set('flag', true);
    $headers->set('byte', -3, Type::T_INT_SHORTSHORT);
    $headers->set('short', -7, Type::T_INT_SHORT);
    $headers->set('small', 7, Type::T_INT_LONG);
    $headers->set('large', 2 ** 40, Type::T_INT_LONGLONG);
    $headers->set('text', 'grün');
    $headers->set('nothing', null);
    $headers->set('moment', 1_709_208_000, Type::T_TIMESTAMP);
    $headers->set('list', [1, 'two', false]);
    $headers->set('table', ['inner' => 'value']);
    return $headers;
}

function properties(int $number, string $user): array
{
    return [
        'content_type' => 'text/plain',
        'content_encoding' => 'utf-8',
        'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
        'priority' => 4,
        'correlation_id' => "correlation-$number",
        'reply_to' => 'replies',
        'expiration' => '60000',
        'message_id' => (string) $number,
        'timestamp' => 1_700_000_000,
        'type' => 'order',
        'user_id' => $user,
        'app_id' => 'matrix',
    ];
}

/** The types and values of a table, entry by entry. */
function typed(AMQPTable $table): array
{
    $types = [];
    foreach ($table as $key => [$type, $_value]) {
        $types[$key] = $type;
    }
    // A moment is a new object each time it is read; its seconds can be compared.
    $comparable = fn ($value) => $value instanceof DateTimeInterface ? $value->getTimestamp() : $value;
    $values = array_map($comparable, $table->getNativeData());
    ksort($types);
    ksort($values);
    return [$types, $values];
}

final class Scenario
{
    private const STEPS = [
        'declareAndBind',
        'publishWithConfirms',
        'consumeAndSettle',
        'seeReturn',
        'get',
        'seeNotFound',
        'seePreconditionFailed',
        'useRecoveredChannel',
    ];

    private AMQPChannel $channel;
    private string $exchange;
    private string $work;
    private string $audit;
    /** @var AMQPMessage[] */
    private array $deliveries = [];

    public function __construct(private AMQPStreamConnection $connection, private string $user)
    {
        $prefix = 'matrix-php-amqplib-' . bin2hex(random_bytes(16));
        $this->exchange = "$prefix.events";
        $this->work = "$prefix.work";
        $this->audit = "$prefix.audit";
        $this->openChannel();
    }

    public function run(): void
    {
        try {
            foreach (self::STEPS as $step) {
                $this->runStep($step);
            }
        } catch (Failed $failure) {
            // What failed is worth more than a clean-up that fails for the same reason.
            try {
                $this->cleanUp();
            } catch (Throwable) {
            }
            throw $failure;
        }
        $this->runStep('cleanUp');
    }

    private function runStep(string $step): void
    {
        try {
            $this->$step();
        } catch (Throwable $error) {
            $kind = get_class($error);
            throw new Failed("$step: $kind: {$error->getMessage()}", 0, $error);
        }
    }

    private function openChannel(): void
    {
        $this->channel = $this->connection->channel();
        $this->channel->confirm_select();
        $this->channel->set_nack_handler(fn () => throw new Failed('a message was nacked'));
    }

    private function declareAndBind(): void
    {
        $this->channel->exchange_declare($this->exchange, 'topic', false, false, false);
        foreach ([$this->work => 'order.*', $this->audit => 'order.last'] as $queue => $pattern) {
            $declared = $this->channel->queue_declare($queue, false, false, false, false);
            equal($declared, [$queue, 0, 0], 'declared queue');
            $this->channel->queue_bind($queue, $this->exchange, $pattern);
        }
    }

    /** Publishes all before it waits, so that confirms may arrive in any grouping. */
    private function publishWithConfirms(): void
    {
        $confirmed = 0;
        $this->channel->set_ack_handler(function () use (&$confirmed): void {
            $confirmed++;
        });
        for ($number = 0; $number < MESSAGES; $number++) {
            $message = new AMQPMessage(body($number), properties($number, $this->user));
            $message->set('application_headers', headers());
            $key = $number === MESSAGES - 1 ? 'order.last' : "order.$number";
            $this->channel->basic_publish($message, $this->exchange, $key, true);
        }
        $this->channel->wait_for_pending_acks_returns(STEP_SECONDS_MAX);
        equal($confirmed, MESSAGES, 'confirmed messages');
    }

    private function consumeAndSettle(): void
    {
        $collect = function (AMQPMessage $message): void {
            $this->deliveries[] = $message;
        };
        $this->channel->basic_qos(0, PREFETCH, false);
        $tag = $this->channel->basic_consume($this->work, '', false, false, false, false, $collect);
        $this->awaitDeliveries(PREFETCH);
        equal($this->counts(), [MESSAGES - PREFETCH, 1], 'counts at a full prefetch window');
        equal(count($this->deliveries), PREFETCH, 'deliveries at a full prefetch window');
        for ($settled = 0; $settled < MESSAGES + 1; $settled++) {
            $this->awaitDeliveries($settled + 1);
            $this->settle($this->deliveries[$settled]);
        }
        $this->channel->basic_cancel($tag);
        $this->checkDeliveries();
        equal($this->counts(), [0, 0], 'counts after settling all');
    }

    private function awaitDeliveries(int $count): void
    {
        while (count($this->deliveries) < $count) {
            $this->channel->wait(null, false, STEP_SECONDS_MAX);
        }
    }

    private function counts(): array
    {
        return array_slice($this->channel->queue_declare($this->work, true), 1);
    }

    private function settle(AMQPMessage $message): void
    {
        $number = (int) $message->get('message_id');
        if ($number === REQUEUED && !$message->isRedelivered()) {
            $message->nack(true);
        } elseif ($number === REJECTED) {
            $message->reject(false);
        } elseif ($number === NACKED) {
            $message->nack(false);
        } else {
            $message->ack();
        }
    }

    private function checkDeliveries(): void
    {
        $again = array_filter($this->deliveries, fn ($message) => $message->isRedelivered());
        $bodies = array_map(fn ($message) => $message->getBody(), array_values($again));
        equal($bodies, [body(REQUEUED)], 'redelivered bodies');
        $first = array_values(array_diff_key($this->deliveries, $again));
        equal(count($first), MESSAGES, 'first deliveries');
        foreach ($first as $number => $message) {
            equal($message->getExchange(), $this->exchange, 'exchange of the delivery');
            $this->checkMessage($message, $number);
        }
    }

    private function checkMessage(AMQPMessage $message, int $number): void
    {
        equal($message->getBody(), body($number), 'body');
        $found = $message->get_properties();
        equal(typed($found['application_headers']), typed(headers()), 'headers');
        unset($found['application_headers']);
        $expected = properties($number, $this->user);
        ksort($found);
        ksort($expected);
        equal($found, $expected, 'properties');
    }

    private function seeReturn(): void
    {
        $returns = [];
        $this->channel->set_return_listener(function (...$arguments) use (&$returns): void {
            $arguments[4] = $arguments[4]->getBody();
            $returns[] = $arguments;
        });
        $this->channel->basic_publish(new AMQPMessage('lost'), $this->exchange, 'nowhere', true);
        $this->channel->wait_for_pending_acks_returns(STEP_SECONDS_MAX);
        equal($returns, [[312, 'NO_ROUTE', $this->exchange, 'nowhere', 'lost']], 'returns');
    }

    private function get(): void
    {
        $message = $this->channel->basic_get($this->audit);
        check($message !== null, 'the second queue holds no message');
        $this->checkMessage($message, MESSAGES - 1);
        equal($message->isRedelivered(), false, 'redelivered');
        equal($message->getMessageCount(), 0, 'messages left');
        $message->ack();
        equal($this->channel->basic_get($this->audit), null, 'get from an empty queue');
    }

    private function seeNotFound(): void
    {
        $this->closes(404, fn () => $this->channel->queue_declare("{$this->work}.missing", true));
    }

    private function seePreconditionFailed(): void
    {
        $durable = fn () => $this->channel->queue_declare($this->work, false, true, false, false);
        $this->closes(406, $durable);
    }

    private function closes(int $code, callable $action): void
    {
        $closed = 0;
        try {
            $action();
        } catch (AMQPProtocolChannelException $error) {
            $closed = $error->amqp_reply_code;
        }
        equal($closed, $code, 'code of the channel close');
        check($this->connection->isConnected(), 'the connection did not survive');
        $this->openChannel();
    }

    private function useRecoveredChannel(): void
    {
        $this->channel->basic_publish(new AMQPMessage('after'), '', $this->work, true);
        $this->channel->wait_for_pending_acks_returns(STEP_SECONDS_MAX);
        $message = $this->channel->basic_get($this->work, true);
        check($message !== null, 'the message published after recovery is missing');
        equal([$message->getBody(), $message->getRoutingKey()], ['after', $this->work], 'message');
    }

    private function cleanUp(): void
    {
        $channel = $this->connection->channel();
        $channel->queue_delete($this->work);
        $channel->queue_delete($this->audit);
        $channel->exchange_delete($this->exchange);
    }
}

/** Here too a path of "/" stands for the default virtual host. */
function connect(string $url): array
{
    $parsed = parse_url($url);
    check(is_array($parsed) && isset($parsed['host']), "AMQP_URL '$url' is malformed");
    $user = rawurldecode($parsed['user'] ?? 'guest');
    $connection = new AMQPStreamConnection(
        $parsed['host'],
        $parsed['port'] ?? 5672,
        $user,
        rawurldecode($parsed['pass'] ?? 'guest'),
        rawurldecode(substr($parsed['path'] ?? '/', 1)) ?: '/',
        connection_timeout: STEP_SECONDS_MAX,
        read_write_timeout: STEP_SECONDS_MAX,
        channel_rpc_timeout: STEP_SECONDS_MAX,
    );
    return [$connection, $user];
}

pcntl_async_signals(true);
pcntl_signal(SIGALRM, fn () => throw new Failed('out of time'));
pcntl_alarm(RUN_SECONDS_MAX);

try {
    [$connection, $user] = connect((string) getenv('AMQP_URL'));
    (new Scenario($connection, $user))->run();
    $connection->close();
    echo 'ok php-amqplib ', Package::VERSION, "\n";
} catch (Throwable $error) {
    fwrite(STDERR, 'FAIL php-amqplib: ' . get_class($error) . ": {$error->getMessage()}\n");
    exit(1);
}
