// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {BLS12381} from "./BLS12381.sol";
import {History} from "./History.sol";
import {Membership} from "./Membership.sol";

/// @title Operators of one AVS over BLS12-381: BLS keys, stakes per quorum, and the check of their aggregated signatures
/// @notice Keys are in G1, signatures in G2, as on the beacon chain. Points are given and answered in the encoding of
/// EIP-2537: 128 bytes for G1, 256 for G2. See `Membership` for who is an operator. Needs a chain with EIP-2537 (Prague).
contract OperatorRegistry12381 is Membership {
    using History for History.Checkpoint[];

    /// @notice A registered operator and its stakes, in the order of the quorums asked for.
    struct Operator {
        address operator;
        bytes32 id;
        bytes pubkey;
        uint96[] stakes;
    }

    /// @notice An aggregated signature: who did not sign, and the sum of signatures. A signer of several of the quorums is
    /// counted once for each quorum it has stake in.
    struct SignatureParams {
        bytes[] nonSignerPubkeys;
        bytes sigma;
    }

    /// @notice `operator` registered the key whose id is `id`.
    event OperatorRegistered(address indexed operator, bytes32 indexed id, bytes pubkey);

    mapping(bytes32 id => BLS12381.G1Point) private _keys;
    mapping(uint8 quorum => mapping(uint96 version => BLS12381.G1Point)) private _apks;

    /// @notice Registers the caller's BLS key. It has no stake until the owner sets one.
    /// @param signature proof of possession: the signature by this key of `pubkeyRegistrationDigest(caller)`
    /// @param pubkey_ the key
    function register(bytes calldata signature, bytes calldata pubkey_) external {
        BLS12381.G1Point memory key = BLS12381.decodeG1(pubkey_);
        bytes32 id = _id(key);
        _checkNewcomer(msg.sender, id);
        if (BLS12381.isZero(key)) revert ZeroPubkey();

        // The pairing also shows that the key is in the subgroup, which adding it to others later does not.
        BLS12381.G2Point memory message = BLS12381.hashToG2(pubkeyRegistrationDigest(msg.sender));
        if (!BLS12381.verify(message, BLS12381.decodeG2(signature), key)) revert InvalidProofOfPossession();

        _keys[id] = key;
        _enter(msg.sender, id);
        emit OperatorRegistered(msg.sender, id, pubkey_);
    }

    /// @notice The key with this id and who registered it, also after the operator left; infinity if nobody did.
    /// @param id keccak256 of the key's coordinates, each as 48 bytes, big-endian
    function pubkey(bytes32 id) external view returns (address operator, bytes memory key) {
        return (_holder[id], abi.encode(_keys[id]));
    }

    /// @notice The sum of the keys in `quorum` at the end of `blockNumber`.
    function apkAt(uint8 quorum, uint32 blockNumber) external view returns (bytes memory) {
        return abi.encode(_apkAt(quorum, blockNumber));
    }

    /// @notice The operators that have stake in any of `quorums` now, ascending by id. For callers off chain, which call it
    /// at the block they want to know.
    /// @param quorums quorum numbers, in any order
    /// @return operators with one stake per quorum asked for
    /// @return totalStakes all stake in each quorum
    /// @return apks the sum of the keys in each quorum
    function operatorState(uint8[] calldata quorums)
        external
        view
        returns (Operator[] memory operators, uint96[] memory totalStakes, bytes[] memory apks)
    {
        totalStakes = _latestTotalStakes(quorums);
        apks = new bytes[](quorums.length);
        for (uint256 i = 0; i < quorums.length; i++) {
            apks[i] = abi.encode(_latestApk(quorums[i]));
        }
        bytes32[] memory ids = _sortedIds(quorums);
        operators = new Operator[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            bytes32 id = ids[i];
            operators[i] = Operator(_holder[id], id, abi.encode(_keys[id]), _latestStakes(id, quorums));
        }
    }

    /// @notice Checks an aggregated signature against the operators of a past block; reverts unless it is valid. Whether
    /// the signed stake is enough is for the caller to say.
    /// @param digest what was signed; hashed to the curve here
    /// @param quorumNumbers one byte per quorum, strictly ascending
    /// @param referenceBlockNumber the block at whose end stakes and keys count; before the current one
    /// @param params the signature; non-signers strictly ascending by id
    /// @return signedStakes the signers' stake in each quorum
    /// @return totalStakes all stake in each quorum
    function checkSignatures(
        bytes32 digest,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        SignatureParams calldata params
    ) external view returns (uint96[] memory signedStakes, uint96[] memory totalStakes) {
        (signedStakes, totalStakes) = _stakesAt(quorumNumbers, referenceBlockNumber);
        BLS12381.G1Point memory apk =
            _signersKey(quorumNumbers, referenceBlockNumber, params.nonSignerPubkeys, signedStakes);
        // Proofs of possession keep a sum of keys from being infinity otherwise. Without this, the empty signature of
        // nobody would pass the pairing.
        if (BLS12381.isZero(apk)) revert NoSigners();

        if (!BLS12381.verify(BLS12381.hashToG2(digest), BLS12381.decodeG2(params.sigma), apk)) revert InvalidSignature();
    }

    function _changeApk(bytes32 id, uint8 quorum, bool joins) internal override {
        BLS12381.G1Point memory key = _keys[id];
        BLS12381.G1Point memory apk = BLS12381.plus(_latestApk(quorum), joins ? key : BLS12381.negate(key));
        _apks[quorum][_apkVersions[quorum].advance()] = apk;
    }

    function _latestApk(uint8 quorum) private view returns (BLS12381.G1Point memory) {
        return _apks[quorum][_apkVersions[quorum].latest()];
    }

    function _apkAt(uint8 quorum, uint32 blockNumber) private view returns (BLS12381.G1Point memory) {
        return _apks[quorum][_apkVersions[quorum].atBlock(blockNumber)];
    }

    /// @dev The sum of the quorums' aggregate keys without the non-signers' keys, each as often as the sum has it. Takes
    /// the non-signers' stakes off `signedStakes`, in place.
    function _signersKey(
        bytes calldata quorumNumbers,
        uint32 blockNumber,
        bytes[] calldata nonSigners,
        uint96[] memory signedStakes
    ) private view returns (BLS12381.G1Point memory apk) {
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            apk = BLS12381.plus(apk, _apkAt(uint8(quorumNumbers[i]), blockNumber));
        }
        BLS12381.G1Point memory absent;
        bytes32 previous = 0;
        for (uint256 i = 0; i < nonSigners.length; i++) {
            BLS12381.G1Point memory key = BLS12381.decodeG1(nonSigners[i]);
            bytes32 id = _id(key);
            uint256 times = _takeOff(previous, id, quorumNumbers, blockNumber, signedStakes);
            previous = id;
            // Adding costs a thirtieth of multiplying, and quorums are few.
            for (; times != 0; times--) {
                absent = BLS12381.plus(absent, key);
            }
        }
        return BLS12381.plus(apk, BLS12381.negate(absent));
    }

    /// @dev keccak256 of the key's coordinates without EIP-2537's padding, which is zero.
    function _id(BLS12381.G1Point memory key) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint128(key.xHigh), key.xLow, uint128(key.yHigh), key.yLow));
    }
}
