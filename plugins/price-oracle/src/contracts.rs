//! What the plugin sees of the contracts in `examples/price-oracle/contracts`.
#![allow(missing_docs, reason = "the contracts' sources document them; sol! generates items without comments")]

use eigenshift_guest::sol;

sol! {
    /// A price source of a feed.
    #[derive(Debug, PartialEq)]
    struct Source { bytes32 name; address aggregator; }

    /// `T`: a task as the contract hashed it.
    #[derive(Debug, PartialEq)]
    struct Task { uint32 index; bytes32 feed; uint32 createdBlock; bytes quorumNumbers; uint8 thresholdPercentage; }

    /// `K`: one source's price, with 8 decimals.
    #[derive(Debug, PartialEq)]
    struct Response { uint32 taskIndex; bytes32 source; int256 price; uint80 roundId; uint64 updatedAt; }

    #[derive(Debug, PartialEq)]
    struct G1Point { uint256 X; uint256 Y; }

    #[derive(Debug, PartialEq)]
    struct G2Point { uint256[2] X; uint256[2] Y; }

    /// `OperatorRegistry.SignatureParams`.
    #[derive(Debug, PartialEq)]
    struct SignatureParams { G1Point[] nonSignerPubkeys; G2Point apkG2; G1Point sigma; }

    #[derive(Debug, PartialEq)]
    struct Answer { Response response; SignatureParams params; }

    interface PriceOracle {
        #[derive(Debug, PartialEq)]
        event TaskCreated(uint32 indexed index, Task task);

        function createTask(bytes32 feed) external returns (uint32 index);
        function feedSources(bytes32 feed) external view returns (Source[] memory sources, uint32 minSources);
        function respondToTask(Task calldata task, Answer[] calldata submitted) external;
        function isAnswered(uint32 index) external view returns (bool);
    }

    interface AggregatorV3Interface {
        function latestRoundData() external view returns (
            uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound
        );
    }
}
