// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

/// @title What a Chainlink price feed answers
/// @notice Names and types are Chainlink's, so that a real feed can stand where `PriceFeed` does.
interface AggregatorV3Interface {
    /// @notice How many decimals an answer has.
    function decimals() external view returns (uint8);

    /// @notice What the feed is about, e.g. "EUR / USD".
    function description() external view returns (string memory);

    /// @notice The version of the feed's code.
    function version() external view returns (uint256);

    /// @notice The data of one round.
    /// @param _roundId which round
    /// @return roundId the round
    /// @return answer the price, with `decimals()` decimals
    /// @return startedAt when the round began, in unix seconds
    /// @return updatedAt when the answer was given, in unix seconds
    /// @return answeredInRound the round the answer comes from
    function getRoundData(uint80 _roundId)
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);

    /// @notice The data of the latest round; see `getRoundData`.
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}
