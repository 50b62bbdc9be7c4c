// A user of one bucket by the AWS SDK for Java, with its own defaults.
// Usage: java -cp ... Client.java ENDPOINT BUCKET VERB KEY... ; the keys are in the environment.

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Exception;

class Client {
  public static void main(String[] words) throws Exception {
    String bucket = words[1];
    String key = words.length > 3 ? words[3] : "";
    try (S3Client s3 = S3Client.builder().endpointOverride(URI.create(words[0])).build()) {
      switch (words[2]) {
        case "put" -> s3.putObject(to -> to.bucket(bucket).key(key), RequestBody.fromFile(Path.of(words[4])));
        case "get" -> s3.getObject(of -> of.bucket(bucket).key(key)).transferTo(System.out);
        case "names" -> {
          for (var one : s3.listObjectsV2Paginator(of -> of.bucket(bucket)).contents()) {
            System.out.write((one.key() + "\n").getBytes(StandardCharsets.UTF_8));
          }
        }
        case "move" -> {
          s3.copyObject(of -> of.sourceBucket(bucket).sourceKey(key).destinationBucket(bucket).destinationKey(words[4]));
          s3.deleteObject(of -> of.bucket(bucket).key(key));
        }
        case "delete" -> s3.deleteObject(of -> of.bucket(bucket).key(key));
        default -> throw new IllegalArgumentException(words[2]);
      }
      System.out.flush();
    } catch (S3Exception refused) {
      System.err.println(refused.awsErrorDetails().errorCode() + ": " + refused.getMessage());
      System.exit(1);
    }
  }
}
