package matrix;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.Return;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.impl.ClientVersion;
import com.rabbitmq.client.impl.LongStringHelper;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * Drives a broker through the Java client.
 *
 * <p>One run of the steps listed in ../README.md. Every step asserts what the broker must do; the
 * first that fails ends the program with exit code 1 and the step's name.
 */
public final class Client {
    private static final int RUN_MS_MAX = 50_000;
    private static final int STEP_MS_MAX = 10_000;
    private static final int MESSAGES = 10;
    private static final int PREFETCH = 3;
    private static final int REQUEUED = 2;
    private static final int REJECTED = 3;
    private static final int NACKED = 4;

    private final Connection connection;
    private final String user;
    private final String exchange;
    private final String work;
    private final String audit;
    private Channel channel;

    private Client(Connection connection, String user) throws IOException {
        String prefix = "matrix-java-" + UUID.randomUUID();
        this.connection = connection;
        this.user = user;
        this.exchange = prefix + ".events";
        this.work = prefix + ".work";
        this.audit = prefix + ".audit";
        this.channel = openChannel();
    }

    public static void main(String[] arguments) {
        endWhenOutOfTime();
        try {
            run(System.getenv("AMQP_URL"));
            System.out.println("ok java " + ClientVersion.VERSION);
            System.exit(0);
        } catch (Throwable failure) {
            System.err.println("FAIL java: " + failure);
            failure.printStackTrace();
            System.exit(1);
        }
    }

    private static void endWhenOutOfTime() {
        TimerTask end = new TimerTask() {
            @Override
            public void run() {
                System.err.println("FAIL java: out of time");
                Runtime.getRuntime().halt(1);
            }
        };
        new Timer(true).schedule(end, RUN_MS_MAX);
    }

    private static void run(String url) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(url);
        // The client reads a path of "/" as the virtual host "", the matrix as the default one.
        if ("/".equals(new URI(url).getPath())) {
            factory.setVirtualHost(ConnectionFactory.DEFAULT_VHOST);
        }
        factory.setAutomaticRecoveryEnabled(false);
        factory.setConnectionTimeout(STEP_MS_MAX);
        factory.setChannelRpcTimeout(STEP_MS_MAX);
        try (Connection connection = factory.newConnection("client matrix")) {
            new Client(connection, factory.getUsername()).steps();
        }
    }

    private interface Step {
        void run() throws Exception;
    }

    private void steps() throws Exception {
        try {
            step("declare and bind", this::declareAndBind);
            step("publish with confirms", this::publishWithConfirms);
            step("consume and settle", this::consumeAndSettle);
            step("see return", this::seeReturn);
            step("get", this::get);
            step("see not found", this::seeNotFound);
            step("see precondition failed", this::seePreconditionFailed);
            step("use recovered channel", this::useRecoveredChannel);
        } catch (AssertionError failure) {
            cleanUpAfter(failure);
            throw failure;
        }
        step("clean up", this::cleanUp);
    }

    private void cleanUpAfter(AssertionError failure) {
        try {
            cleanUp();
        } catch (Exception alsoFailed) {
            failure.addSuppressed(alsoFailed);
        }
    }

    private static void step(String name, Step step) {
        try {
            step.run();
        } catch (Exception | AssertionError failure) {
            throw new AssertionError(name + ": " + failure, failure);
        }
    }

    private Channel openChannel() throws IOException {
        Channel opened = connection.createChannel();
        opened.confirmSelect();
        return opened;
    }

    private void declareAndBind() throws IOException {
        channel.exchangeDeclare(exchange, "topic", false);
        declare(work, "order.*");
        declare(audit, "order.last");
    }

    private void declare(String queue, String pattern) throws IOException {
        AMQP.Queue.DeclareOk declared = channel.queueDeclare(queue, false, false, false, null);
        equal("name of the declared queue", declared.getQueue(), queue);
        equal("ready messages", declared.getMessageCount(), 0);
        equal("consumers", declared.getConsumerCount(), 0);
        channel.queueBind(queue, exchange, pattern);
    }

    /** Publishes all before it waits, so that confirms may arrive in any grouping. */
    private void publishWithConfirms() throws Exception {
        for (int number = 0; number < MESSAGES; number++) {
            String key = number == MESSAGES - 1 ? "order.last" : "order." + number;
            channel.basicPublish(exchange, key, true, properties(number), body(number));
        }
        channel.waitForConfirmsOrDie(STEP_MS_MAX);
    }

    private void consumeAndSettle() throws Exception {
        BlockingQueue<Delivery> arriving = new LinkedBlockingQueue<>();
        channel.basicQos(PREFETCH);
        String tag = channel.basicConsume(work, new Collector(channel, arriving));
        List<Delivery> deliveries = new ArrayList<>();
        receive(arriving, deliveries, PREFETCH);
        checkCounts(MESSAGES - PREFETCH, 1);
        equal("deliveries beyond the prefetch window", arriving.size(), 0);
        for (int settled = 0; settled < MESSAGES + 1; settled++) {
            receive(arriving, deliveries, settled + 1);
            settle(deliveries.get(settled));
        }
        channel.basicCancel(tag);
        checkDeliveries(deliveries);
        checkCounts(0, 0);
    }

    private static final class Collector extends DefaultConsumer {
        private final BlockingQueue<Delivery> arriving;

        Collector(Channel channel, BlockingQueue<Delivery> arriving) {
            super(channel);
            this.arriving = arriving;
        }

        @Override
        public void handleDelivery(
                String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
            arriving.add(new Delivery(envelope, properties, body));
        }
    }

    private static void receive(
            BlockingQueue<Delivery> arriving, List<Delivery> deliveries, int count)
            throws InterruptedException {
        while (deliveries.size() < count) {
            Delivery delivery = arriving.poll(STEP_MS_MAX, TimeUnit.MILLISECONDS);
            check(delivery != null, "no delivery number " + (deliveries.size() + 1));
            deliveries.add(delivery);
        }
    }

    private void checkCounts(int ready, int consumers) throws IOException {
        AMQP.Queue.DeclareOk found = channel.queueDeclarePassive(work);
        equal("ready messages", found.getMessageCount(), ready);
        equal("consumers", found.getConsumerCount(), consumers);
    }

    private void settle(Delivery delivery) throws IOException {
        int number = Integer.parseInt(delivery.getProperties().getMessageId());
        long tag = delivery.getEnvelope().getDeliveryTag();
        if (number == REQUEUED && !delivery.getEnvelope().isRedeliver()) {
            channel.basicNack(tag, false, true);
        } else if (number == REJECTED) {
            channel.basicReject(tag, false);
        } else if (number == NACKED) {
            channel.basicNack(tag, false, false);
        } else {
            channel.basicAck(tag, false);
        }
    }

    private void checkDeliveries(List<Delivery> deliveries) {
        List<String> again = new ArrayList<>();
        int number = 0;
        for (Delivery delivery : deliveries) {
            if (delivery.getEnvelope().isRedeliver()) {
                again.add(delivery.getProperties().getMessageId());
                continue;
            }
            equal("exchange", delivery.getEnvelope().getExchange(), exchange);
            checkMessage(delivery.getProperties(), delivery.getBody(), number++);
        }
        equal("first deliveries", number, MESSAGES);
        equal("redelivered", again, List.of(Integer.toString(REQUEUED)));
    }

    private void checkMessage(AMQP.BasicProperties found, byte[] foundBody, int number) {
        equal("properties", found, properties(number));
        check(Arrays.equals(foundBody, body(number)), "body of message " + number + " differs");
    }

    private void seeReturn() throws Exception {
        BlockingQueue<Return> returns = new LinkedBlockingQueue<>();
        channel.addReturnListener(returns::add);
        channel.basicPublish(exchange, "nowhere", true, null, utf8("lost"));
        channel.waitForConfirmsOrDie(STEP_MS_MAX);
        equal("returns before the confirm of an unroutable message", returns.size(), 1);
        Return returned = returns.remove();
        equal("reply code of the return", returned.getReplyCode(), AMQP.NO_ROUTE);
        equal("reply text of the return", returned.getReplyText(), "NO_ROUTE");
        equal("exchange of the return", returned.getExchange(), exchange);
        equal("routing key of the return", returned.getRoutingKey(), "nowhere");
        equal("body of the return", text(returned.getBody()), "lost");
    }

    private void get() throws IOException {
        GetResponse message = channel.basicGet(audit, false);
        check(message != null, "the second queue holds no message");
        checkMessage(message.getProps(), message.getBody(), MESSAGES - 1);
        equal("redelivered", message.getEnvelope().isRedeliver(), false);
        equal("messages left", message.getMessageCount(), 0);
        channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
        check(channel.basicGet(audit, false) == null, "the acknowledged message is still there");
    }

    private void seeNotFound() throws IOException {
        closes(AMQP.NOT_FOUND, () -> channel.queueDeclarePassive(work + ".missing"));
    }

    private void seePreconditionFailed() throws IOException {
        closes(AMQP.PRECONDITION_FAILED, () -> channel.queueDeclare(work, true, false, false, null));
    }

    private void closes(int code, Step action) throws IOException {
        equal("code of the channel close", codeOf(action), code);
        check(!channel.isOpen(), "the channel is still open");
        check(connection.isOpen(), "the connection did not survive a channel exception");
        channel = openChannel();
    }

    private static int codeOf(Step action) {
        try {
            action.run();
            return 0;
        } catch (Exception failure) {
            check(
                    failure.getCause() instanceof ShutdownSignalException,
                    "failed otherwise: " + failure);
            ShutdownSignalException signal = (ShutdownSignalException) failure.getCause();
            return ((AMQP.Channel.Close) signal.getReason()).getReplyCode();
        }
    }

    private void useRecoveredChannel() throws Exception {
        channel.basicPublish("", work, true, null, utf8("after"));
        channel.waitForConfirmsOrDie(STEP_MS_MAX);
        GetResponse message = channel.basicGet(work, true);
        check(message != null, "the message published after recovery is missing");
        equal("body", text(message.getBody()), "after");
        equal("routing key", message.getEnvelope().getRoutingKey(), work);
    }

    private void cleanUp() throws IOException {
        Channel cleaner = connection.createChannel();
        cleaner.queueDelete(work);
        cleaner.queueDelete(audit);
        cleaner.exchangeDelete(exchange);
    }

    private AMQP.BasicProperties properties(int number) {
        return new AMQP.BasicProperties.Builder()
                .contentType("text/plain")
                .contentEncoding("utf-8")
                .headers(headers())
                .deliveryMode(2)
                .priority(4)
                .correlationId("correlation-" + number)
                .replyTo("replies")
                .expiration("60000")
                .messageId(Integer.toString(number))
                .timestamp(new Date(1_700_000_000_000L))
                .type("order")
                .userId(user)
                .appId("matrix")
                .build();
    }

    private static Map<String, Object> headers() {
        Map<String, Object> headers = new HashMap<>();
        headers.put("flag", true);
        headers.put("byte", (byte) -3);
        headers.put("short", (short) -7);
        headers.put("small", 7);
        headers.put("large", 1L << 40);
        headers.put("ratio", 0.25);
        headers.put("single", 0.5f);
        headers.put("amount", new BigDecimal("12.34"));
        headers.put("text", LongStringHelper.asLongString("grün"));
        headers.put("nothing", null);
        headers.put("moment", new Date(1_709_208_000_000L));
        headers.put("list", List.of(1, LongStringHelper.asLongString("two"), false));
        headers.put("table", Map.of("inner", LongStringHelper.asLongString("value")));
        return headers;
    }

    private static byte[] body(int number) {
        return utf8(("body " + number).repeat(number + 1));
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] body) {
        return new String(body, StandardCharsets.UTF_8);
    }

    private static void equal(String what, Object actual, Object expected) {
        check(
                Objects.equals(actual, expected),
                what + ": expected " + expected + ", got " + actual);
    }

    private static void check(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }
}
