package matrix;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultSaslConfig;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.impl.ClientVersion;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.Timer;
import java.util.TimerTask;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Drives a broker over TLS through the Java client.
 *
 * <p>One run of the steps over TLS listed in ../README.md. Every step asserts what the broker or the
 * client must do; the first that fails ends the program with exit code 1 and the step's name.
 */
public final class TlsClient {
    private static final int RUN_MS_MAX = 50_000;
    private static final int STEP_MS_MAX = 10_000;
    private static final int BODY_BYTES = 1 << 20;
    private static final char[] PASSWORD = "matrix".toCharArray();

    private String authority = "ca";
    private String shown = "client";
    private String version = "TLSv1.3";
    private String host;
    private boolean external;

    private TlsClient() {}

    public static void main(String[] arguments) {
        endWhenOutOfTime();
        try {
            steps();
            System.out.println("ok java-tls " + ClientVersion.VERSION);
            System.exit(0);
        } catch (Throwable failure) {
            System.err.println("FAIL java-tls: " + failure);
            failure.printStackTrace();
            System.exit(1);
        }
    }

    private static void endWhenOutOfTime() {
        TimerTask end = new TimerTask() {
            @Override
            public void run() {
                System.err.println("FAIL java-tls: out of time");
                Runtime.getRuntime().halt(1);
            }
        };
        new Timer(true).schedule(end, RUN_MS_MAX);
    }

    private interface Step {
        void run() throws Exception;
    }

    private static void steps() throws Exception {
        TlsClient old = new TlsClient();
        old.version = "TLSv1.2";
        step("work over TLS 1.2", old::work);
        step("work over TLS 1.3", new TlsClient()::work);
        TlsClient byCertificate = new TlsClient();
        byCertificate.external = true;
        step("log in by certificate", byCertificate::work);
        TlsClient otherAuthority = new TlsClient();
        otherAuthority.authority = "other-ca";
        step("refuse a broker of another authority", otherAuthority::refuses);
        TlsClient otherName = new TlsClient();
        otherName.host = "localhost";
        step("refuse a broker of another name", otherName::refuses);
        TlsClient otherClient = new TlsClient();
        otherClient.shown = "other-client";
        step("see a certificate of another authority refused", otherClient::isRefused);
        TlsClient none = new TlsClient();
        none.shown = null;
        step("see no certificate refused", none::isRefused);
        step("work as before", new TlsClient()::work);
    }

    private static void step(String name, Step step) throws Exception {
        try {
            step.run();
        } catch (Exception | AssertionError failure) {
            throw new Exception(name, failure);
        }
    }

    private static Path file(String name) {
        return Path.of(System.getenv("MATRIX_CERTIFICATES"), name);
    }

    private SSLContext context() throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (InputStream pem = Files.newInputStream(file(authority + ".pem"))) {
            roots.setCertificateEntry(
                    authority, CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance(version);
        context.init(keys(), trust.getTrustManagers(), null);
        return context;
    }

    private KeyManager[] keys() throws Exception {
        if (shown == null) {
            return null;
        }
        KeyStore own = KeyStore.getInstance("PKCS12");
        try (InputStream file = Files.newInputStream(file(shown + ".p12"))) {
            own.load(file, PASSWORD);
        }
        KeyManagerFactory keys =
                KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, PASSWORD);
        return keys.getKeyManagers();
    }

    private Connection connect() throws Exception {
        String url = System.getenv("AMQPS_URL");
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(url);
        if ("/".equals(new URI(url).getPath())) {
            factory.setVirtualHost(ConnectionFactory.DEFAULT_VHOST);
        }
        if (host != null) {
            factory.setHost(host);
        }
        factory.useSslProtocol(context());
        factory.enableHostnameVerification();
        if (external) {
            factory.setSaslConfig(DefaultSaslConfig.EXTERNAL);
        }
        factory.setAutomaticRecoveryEnabled(false);
        factory.setConnectionTimeout(STEP_MS_MAX);
        factory.setChannelRpcTimeout(STEP_MS_MAX);
        return factory.newConnection("client matrix over TLS");
    }

    private void work() throws Exception {
        byte[] body = new byte[BODY_BYTES];
        new SecureRandom().nextBytes(body);
        try (Connection connection = connect()) {
            Channel channel = connection.createChannel();
            channel.confirmSelect();
            String queue = channel.queueDeclare().getQueue();
            channel.basicPublish("", queue, true, null, body);
            channel.waitForConfirmsOrDie(STEP_MS_MAX);
            GetResponse got = channel.basicGet(queue, true);
            if (got == null || !Arrays.equals(got.getBody(), body)) {
                throw new AssertionError("the body came back another, or not at all");
            }
        }
    }

    /** The client ends the handshake, because of the broker's certificate. */
    private void refuses() throws Exception {
        Exception refusal = refusal();
        Throwable reason = refusal;
        while (reason != null && !(reason instanceof CertificateException)) {
            reason = reason.getCause();
        }
        if (reason == null) {
            throw new AssertionError("refused for another reason", refusal);
        }
    }

    /** The broker lets nobody in. */
    private void isRefused() throws Exception {
        refusal();
    }

    private Exception refusal() {
        try (Connection connection = connect()) {
            throw new AssertionError("it was not refused: " + connection);
        } catch (Exception expected) {
            return expected;
        }
    }
}
