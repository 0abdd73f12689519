// Says what time it is, waits 400 ms, and says that it has.
class Clocks {
    public static void main(String[] arguments) throws Exception {
        System.out.println(System.currentTimeMillis() * 1000000L);
        Thread.sleep(400);
        System.out.println("done");
    }
}
